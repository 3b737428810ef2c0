"""The page of published data sets names every layout, and only commands that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from pairalign.cli.main import build_parser
from pairalign.data.convert import find_layout, known_layouts
from pairalign.evaluate.protocols.registry import find_protocol

ROOT = Path(__file__).parents[1]
COMMANDS = re.findall(r"`(pairalign [^`…]+)`", (ROOT / "docs" / "datasets.md").read_text(encoding="utf-8"))


def test_every_layout_has_its_way() -> None:
    converted = [shlex.split(command)[3] for command in COMMANDS if command.startswith("pairalign data convert")]
    assert sorted(converted) == sorted(known_layouts())


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_one_that_can_be_given(command: str) -> None:
    words = shlex.split(command)[1:]
    args = build_parser().parse_args(words)
    if words[0] == "data":
        options = dict(option.split("=", 1) for option in args.option)
        assert options.keys() <= find_layout(args.layout).options.keys()
    elif words[0] == "align":
        assert (ROOT / args.config).is_file()
    else:
        assert args.protocol is None or find_protocol(args.protocol)
        runs = {yaml.safe_load(path.read_text())["out"] for path in (ROOT / "configs").glob("*.yaml")}
        assert args.run_folder in runs
