"""docs/teaching.md: its own lines make calibration and held-out sets of any base, and its settings read them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from pairalign.cli.main import main
from pairalign.data.world import World
from pairalign.finetune.config import TaskConfig
from pairalign.finetune.tasks import Task

PAGE = (Path(__file__).parents[2] / "docs" / "teaching.md").read_text(encoding="utf-8")
BASE = '"HuggingFaceTB/SmolVLM-256M-Instruct"'


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)


def test_the_pages_own_lines_make_both_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pictures").mkdir()
    for n in range(4):
        World(seed=5).sample(n, None, ("image",))["image"].save(f"pictures/{n}.png")
    make, pack = blocks("python")[0], blocks("sh")[1]
    assert BASE in make
    exec(make.replace(BASE, '"pairalign:demo/base"'), {})
    rows = [json.loads(line) for line in Path("pictures.jsonl").read_text().splitlines()]
    assert len({row["image"] for row in rows}) == 4
    for line in pack.splitlines():
        few = ["--fail-on", "error"] * ("audit" in line)  # two pictures a side are few, and are said to be
        assert main([*line.split()[1:], *few, "--quiet"]) == 0, capsys.readouterr().out
    told = yaml.safe_load(blocks("yaml")[0])
    keys = []
    for part in ("calibration", "held_out"):
        (config,) = told[part].values()
        found = list(Task(part, TaskConfig(**config), ".", []).read())
        assert found
        assert all(example.answer for example in found)
        keys.append({example.key.split("-")[0] for example in found})
    assert not keys[0] & keys[1]  # pictures are on one side each
