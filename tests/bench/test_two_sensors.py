"""`bench/two_sensors.py` at toy size: each pack alone, both, and either order; its figures mean nothing there."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "bench" / "two_sensors.py"
pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="bench/ is not part of an installed package")


def load() -> Any:
    found = importlib.util.spec_from_file_location("two_sensors", SCRIPT)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_every_prompt_is_asked_of_every_question(
    setup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = load()
    monkeypatch.setattr(bench, "TRAIN", 48)
    monkeypatch.setattr(bench, "SHOWN", 16)
    told = {"demo": setup / "demo", "out": tmp_path, "base": str(setup / "base"), "steps": 20, "lr": 1e-2}
    args = argparse.Namespace(**told, density=0.2, questions=12)
    found = bench.measure(args)
    said = capsys.readouterr().out
    assert "rows of both: " in said
    assert "rows of both: 0 " not in said
    assert [one["prompt"] for one in found] == [
        "touch, its pack alone",
        "touch, both installed",
        "points, then touch",
        "touch, then points",
        "points, its pack alone",
        "points, both installed",
        "touch, then points",
        "points, then touch",
    ]
    for n in (0, 4):
        alone, both = found[n], found[n + 1]
        assert (alone["n"], alone["same"], both["same"]) == (12, 12, 12)
        assert alone["value"] == both["value"]
    assert bench.table(found).count("\n") == 9
    asked = bench.questions("touch", args)
    for before in (True, False):
        parts = [part["type"] for part in bench.beside(asked, "points", before)[0].parts]
        assert parts == (["points", "touch", "text"] if before else ["touch", "points", "text"])
