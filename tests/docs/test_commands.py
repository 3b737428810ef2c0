"""Commands on the pages are those that the command line takes, settings those that a configuration has, code runs."""

from __future__ import annotations

import copy
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from reader import blocks, commands, lines

from pairalign.align import losses
from pairalign.align.losses import create_loss
from pairalign.cli.main import _parse
from pairalign.core.config import AlignConfig
from pairalign.data.convert import dataset_format
from pairalign.data.convert.dataset_format import find_format
from pairalign.dormant.significance import scores
from pairalign.dormant.significance.scores import check_score
from pairalign.evaluate.protocols import registry
from pairalign.evaluate.protocols.registry import find_protocol
from pairalign.finetune.config import RecomposeConfig
from pairalign.sensors.bridges import registry as bridges

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted([*DOCS.glob("howto/*.md"), *DOCS.glob("concepts/*.md"), DOCS / "troubleshooting.md"])
KEYS = set(AlignConfig.__dataclass_fields__) | set(RecomposeConfig.__dataclass_fields__)


def typed(path: Path) -> Iterator[list[str]]:
    for line in lines(path):
        for words in commands(line):
            if "pairalign" in words:
                yield words[words.index("pairalign") + 1 :]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_every_command_is_one_that_the_parser_takes(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = list(typed(path))
    assert found or path.parent.name != "howto"
    for words in found:
        try:
            _parse(words)
        except SystemExit:
            pytest.fail(f"pairalign {shlex.join(words)}: {capsys.readouterr().err}")


def test_every_block_of_settings_has_keys_of_a_configuration() -> None:
    seen = 0
    for path in PAGES:
        for block in blocks(path, "yaml"):
            told = yaml.safe_load(block)
            assert set(told) <= KEYS, path.name
            seen += 1
    assert seen >= 3


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the test registers is not there after it."""
    for home, name in (
        (scores, "_SCORES"),
        (dataset_format, "_FORMATS"),
        (registry, "_PROTOCOLS"),
        (bridges, "_BRIDGES"),
        (losses, "_LOSSES"),
    ):
        entries = getattr(home, name)
        monkeypatch.setattr(home, name, copy.copy(entries))


@pytest.mark.usefixtures("forgotten")
def test_what_the_page_on_extending_registers_is_there_with_its_options(tmp_path: Path) -> None:
    for block in blocks(DOCS / "howto" / "extend.md", "python"):
        exec(block, {"__name__": "extend"})
    check_score("inverse", {"power": 2.0})
    assert find_protocol("my-labels").settings
    _has_a_gradient("margin")
    mine, left = find_format("my-lab"), list[Any]()
    for name in ("touch/a.png", "image/a.png", "touch/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert not mine.missing(tmp_path)
    (sample,) = mine.read(tmp_path, lambda *why: left.append(why), label="felt")
    assert (sample["key"], sample["label"]) == ("a", "felt")
    assert left == [("b", "missing image")]


def _has_a_gradient(loss: str) -> None:
    made = create_loss(loss, ["a-b"])
    (learned,) = made.parameters()
    options = {"ids_a": torch.arange(4), "ids_b": torch.arange(4), "false_negatives": "mask", "chunk": 8}
    made("a-b", torch.eye(4), torch.eye(4).flip(0), torch.tensor(5.0), **options, gather=False).backward()
    assert learned.grad
