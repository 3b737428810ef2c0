"""The command line as a whole: settings and options in any order, one clean line for an error, its exit codes."""

from __future__ import annotations

import re

import pytest

from pairalign.cli import align
from pairalign.cli.main import main

VERBS = [
    "init",
    "demo",
    "encoders",
    "data",
    "plan",
    "align",
    "evaluate",
    "ablate",
    "translate",
    "score",
    "recompose",
    "sequence",
    "export",
    "push",
    "ask",
    "try",
    "describe",
    "env",
    "completion",
    "schema",
]


@pytest.mark.parametrize(
    "words",
    [
        ["c.yaml", "train.steps=3", "out=x", "--quiet"],
        ["c.yaml", "--quiet", "train.steps=3", "out=x"],
        ["--quiet", "c.yaml", "train.steps=3", "out=x"],
        ["c.yaml", "train.steps=3", "--quiet", "out=x"],
    ],
)
def test_settings_and_options_come_in_any_order(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}

    def run(args):
        seen.update(vars(args))

    monkeypatch.setattr(align, "run", run)
    assert main(["align", *words]) == 0
    assert seen["overrides"] == ["train.steps=3", "out=x"]
    assert seen["config"] == "c.yaml"
    assert seen["quiet"]


@pytest.mark.parametrize(
    "words",
    [
        ["align", "c.yaml", "--quite"],
        ["align", "c.yaml", "--quiet", "train.steps"],
        ["evaluate", "RUN", "--pairs", "p", "a=b"],
        ["aling", "c.yaml"],
        [],
    ],
)
def test_what_no_verb_knows_is_refused_with_the_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2
    assert "usage: pairalign" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["aling", "c.yaml"], "align"),
        (["align", "c.yaml", "--quite"], "--quiet"),
        (["plan", "c.yaml", "--jsn"], "--json"),
        (["data", "pakc", "a", "b"], "pack"),
        (["encoders", "chekc", "glove"], "check"),
        (["data", "pack", "a", "b", "--sed", "3"], "--seed"),
        (["recompose", "c.yaml", "--dry-rnu"], "--dry-run"),
        (["evaluate", "RUN", "--pairs", "p", "--splits", "test"], "--split"),
    ],
)
def test_a_misspelt_verb_or_option_is_told_the_nearest(
    words: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2
    assert capsys.readouterr().err.endswith(f" Did you mean {meant!r}?\n")


def test_what_resembles_nothing_gets_no_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["align", "c.yaml", "--xyzzy"])
    assert capsys.readouterr().err.endswith("unrecognized arguments: --xyzzy\n")


def test_ctrl_c_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(align, "run", run)
    assert main(["align", "c.yaml"]) == 130
    assert capsys.readouterr().err == "pairalign: interrupted\n"


def test_a_deliberate_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["align", "no_such.yaml"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("pairalign: ")
    assert error.count("\n") == 1
    assert "no_such.yaml" in error


def test_the_verbs_are_these(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    listed = re.findall(r"^    (\w+)(?:  |$)", capsys.readouterr().out, re.MULTILINE)
    assert listed == VERBS
