"""Killed at any moment, by any signal, and called again: all files are those of a run that nobody disturbed.

Every run is a fork of this process, which has everything imported, and signals itself at a chosen call of a chosen
function: a training step, a line of metrics, a rename, a batch of validation.
"""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from forked import forked
from stage_two import values

Settings = dict[str, Any]
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
DATED = ("begun", "finished")


def kills(seed: int, count: int, steps: int) -> list[tuple[int, str, int]]:
    """Signal, event and its number; by turns every signal."""
    rng = random.Random(seed)
    events = {"step": steps, "line": steps, "rename": 4, "validation": 3}
    chosen = [rng.choice(list(events)) for _ in range(count)]
    return [(SIGNALS[n % 3], event, rng.randint(1, events[event])) for n, event in enumerate(chosen)]


def assert_undisturbed(whole: Path, cut: Path) -> None:
    """Every file: bytes, but for dates in identity.json and the counters of Lightning's own loops in checkpoints."""
    names = [sorted(str(p.relative_to(f)) for p in f.rglob("*") if p.is_file()) for f in (whole, cut)]
    assert names[0] == names[1]
    for name in names[0]:
        one, other = whole / name, cut / name
        if name == "identity.json":
            told = [json.loads(path.read_text()) for path in (one, other)]
            undated = [{k: v for k, v in t.items() if k not in DATED} for t in told]
            assert undated[0] == undated[1]
        elif name == "last.ckpt":
            kept = [torch.load(path, weights_only=True) for path in (one, other)]
            if kept[0]["global_step"] == kept[1]["global_step"]:  # one that was told to stop late kept a later one
                for part in ("state_dict", "optimizer_states", "lr_schedulers", "callbacks"):
                    assert_equal(kept[0][part], kept[1][part], f"last.ckpt: {part}")
        else:
            assert one.read_bytes() == other.read_bytes(), name


def assert_equal(one: Any, other: Any, where: str) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_equal(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for n, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_equal(a, b, f"{where}.{n}")
    else:
        assert torch.equal(one, other) if torch.is_tensor(one) else one == other, where


def disturb(home: Path, words: list[str], planned: list[tuple[int, str, int]]) -> int:
    """Run undisturbed, and again with every kill in turn until it ends; how many of them hit."""
    assert forked(home / "whole", words) == 0, (home / "whole" / "log").read_text()
    hits = 0
    for number, event, count in planned:
        code = forked(home / "cut", words, number, event, count)
        assert code in (0, -number, 128 + number), (home / "cut" / "log").read_text()
        hits += code != 0
        if code == -signal.SIGKILL and (home / "cut" / "run" / "metrics.jsonl").exists():
            with (home / "cut" / "run" / "metrics.jsonl").open("a") as file:
                file.write('{"step": 2, "train/lo')  # as a power cut leaves it
    assert forked(home / "cut", words) == 0, (home / "cut" / "log").read_text()
    assert_undisturbed(home / "whole" / "run", home / "cut" / "run")
    return hits


@pytest.fixture
def align_words(align_settings: Settings, tmp_path: Path) -> list[str]:
    align_settings["train"] |= {"steps": 14, "checkpoint_every": 3, "validate_every": 4, "threads": 1}
    align_settings["modalities"]["b"]["tune"] = "none"
    (tmp_path / "align.yaml").write_text(yaml.safe_dump({**align_settings, "out": "run"}))
    return ["align", str(tmp_path / "align.yaml"), "--quiet"]


@pytest.fixture
def recompose_words(setup: Path, tmp_path: Path) -> list[str]:
    told = values(setup, tmp_path, max_forgetting=100.0)
    told["train"] |= {"steps": 7, "checkpoint_every": 2, "validate_every": 3, "threads": 1}
    (tmp_path / "two.yaml").write_text(yaml.safe_dump({**told, "out": "run"}))
    return ["recompose", str(tmp_path / "two.yaml"), "--quiet"]


def test_align_killed_by_each_signal(align_words: list[str], tmp_path: Path) -> None:
    planned = [(signal.SIGKILL, "step", 2), (signal.SIGKILL, "line", 6), (signal.SIGTERM, "step", 2)]
    assert disturb(tmp_path, align_words, [*planned, (signal.SIGINT, "step", 4)]) == 4


def test_recompose_killed_by_each_signal(recompose_words: list[str], tmp_path: Path) -> None:
    planned = [(signal.SIGKILL, "step", 2), (signal.SIGKILL, "step", 5), (signal.SIGTERM, "step", 1)]
    assert disturb(tmp_path, recompose_words, [*planned, (signal.SIGINT, "step", 1)]) == 4


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_align_killed_five_times(align_words: list[str], tmp_path: Path, seed: int) -> None:
    disturb(tmp_path, align_words, kills(seed, 5, 14))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_recompose_killed_five_times(recompose_words: list[str], tmp_path: Path, seed: int) -> None:
    disturb(tmp_path, recompose_words, kills(100 + seed, 5, 7))
