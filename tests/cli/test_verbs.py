"""What every verb takes, that its examples parse, and every code that a command ends with."""

from __future__ import annotations

import argparse
import ast
import re
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import pairalign
from pairalign.cli import main as command
from pairalign.cli.parser import Parser
from pairalign.cli.verbs import TAKES
from pairalign.core.errors import PairalignError
from pairalign.core.exits import BY_SIGNAL, EXITS, LOST, NOTHING_LEARNED, OTHER_RUN, WRONG
from pairalign.processes.stopping import SIGNALS

SOURCES = Path(pairalign.__file__).parent
PAGE = SOURCES.parents[1] / "docs" / "cli.md"


def leaves(parser: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, Parser]]:
    """Every verb and subverb that runs something."""
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        assert isinstance(parser, Parser)
        yield name, parser
    for action in below:
        for word, found in action.choices.items():
            yield from leaves(found, f"{name} {word}".strip())


VERBS = dict(leaves(command.build_parser()))


def test_every_verb_takes_what_its_row_says_and_no_other_of_these_options() -> None:
    assert set(VERBS) == set(TAKES)
    for name, parser in VERBS.items():
        shared = {"plugin", "device", "json", "quiet"}
        assert {option for option in shared if f"--{option}" in parser._option_string_actions} == set(TAKES[name]), name
        assert {"json", "quiet"} <= set(TAKES[name]), name


def test_an_option_without_a_meaning_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["data", "pack", "m.jsonl", "shards", "--device", "cpu"])
    assert "unrecognized arguments: --device" in capsys.readouterr().err


@pytest.mark.parametrize("name", VERBS)
def test_the_examples_of_a_verb_parse(name: str) -> None:
    parser = VERBS[name]
    assert parser.examples
    for example in parser.examples:
        assert f"  {example}" in parser.format_help()
        program, *words = shlex.split(example.partition(" > ")[0])
        assert program == "pairalign"
        assert command._parse(words).run is parser.get_default("run"), example


def test_every_exit_code_is_in_the_table_and_the_table_in_the_page() -> None:
    kinds, waiting = set[type[PairalignError]](), [PairalignError]
    while waiting:
        kinds |= {kind := waiting.pop()}
        waiting += kind.__subclasses__()
    assert {kind.exit_code for kind in kinds} == {WRONG, OTHER_RUN, LOST}
    ends = {WRONG, OTHER_RUN, LOST, NOTHING_LEARNED, *(BY_SIGNAL + one for one in (*SIGNALS, signal.SIGPIPE))}
    assert ends <= set(EXITS)
    rows = dict(re.findall(r"^\| (\d+) \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert {int(code): text for code, text in rows.items()} == EXITS


def test_no_verb_ends_with_a_code_of_its_own() -> None:
    for path in (SOURCES / "cli").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Return, ast.IfExp)):
                parts = [node.value] if isinstance(node, ast.Return) else [node.body, node.orelse]
                codes = [p.value for p in parts if isinstance(p, ast.Constant) and type(p.value) is int and p.value]
                assert not codes, f"{path.name}:{node.lineno}: name it in core/exits.py"


def test_the_page_says_of_every_verb_what_its_document_holds() -> None:
    rows = re.findall(r"^\| `([a-z ]+)` \| (.*) \| .* \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert {name: options for name, options in rows} == {
        name: " ".join(f"`--{option}`" for option in takes) for name, takes in TAKES.items()
    }
