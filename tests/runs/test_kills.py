"""Killed at any moment, by any signal, and called again: all files are those of a run that nobody disturbed.

Every run is a fork of this process, which has everything imported, and signals itself at a chosen call of a chosen
function: a training step, a line of metrics, a rename, a batch of validation, a pool, a batch of answers.
"""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from forked import forked
from miniature import recordings
from stage_two import TOUCH, short_run, values
from undisturbed import differences

from pairalign.align.run import align_pairs
from pairalign.core.config import AlignConfig, load_config
from pairalign.data.pack import pack_pairs
from pairalign.data.world.factors import FACTORS
from pairalign.demo import run as demo
from pairalign.demo.stage_two import LessonSize

Settings = dict[str, Any]
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
HALVES = {"metrics.jsonl": '{"step": 2, "train/lo', "answers.jsonl": '{"key": "val-0'}


def kills(seed: int, count: int, steps: int) -> list[tuple[int, str, int]]:
    """Signal, event and its number; by turns every signal."""
    rng = random.Random(seed)
    events = {"step": steps, "line": steps, "rename": 4, "validation": 3}
    chosen = [rng.choice(list(events)) for _ in range(count)]
    return [(SIGNALS[n % 3], event, rng.randint(1, events[event])) for n, event in enumerate(chosen)]


def assert_undisturbed(whole: Path, cut: Path) -> None:
    assert differences(whole, cut) == []


def disturb(home: Path, words: list[str], planned: list[tuple[int, str, int]], out: str = "run") -> int:
    """Run undisturbed, and again with every kill in turn until it ends; how many of them hit. What is left in each
    folder is compared, and that each wrote nothing but `out`."""
    assert forked(home / "whole", words) == 0, (home / "whole" / "log").read_text()
    hits = 0
    for number, event, count in planned:
        code = forked(home / "cut", words, number, event, count)
        assert code in (0, -number, 128 + number), (home / "cut" / "log").read_text()
        hits += code != 0
        if code == -signal.SIGKILL:
            for name, half in HALVES.items():
                if (home / "cut" / out / name).exists():
                    with (home / "cut" / out / name).open("a") as file:
                        file.write(half)  # as a power cut leaves it
    assert forked(home / "cut", words) == 0, (home / "cut" / "log").read_text()
    for name in ("whole", "cut"):
        assert {path.name for path in (home / name).iterdir()} == {"log", out}
    assert_undisturbed(home / "whole" / out, home / "cut" / out)
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
    told["train"] |= {
        "steps": 7,
        "checkpoint_every": 2,
        "validate_every": 3,
        "threads": 1,
        "measure_with_signals": True,
    }
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


def test_pack_killed_by_each_signal(tmp_path: Path) -> None:
    """Around every rename; after that of the index, too, when all that is left is to forget how it was made."""
    lines = [json.dumps({"key": str(n), "touch": [n, n + 0.5], "text": f"sample {n}"}) for n in range(60)]
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    words = ["data", "pack", str(tmp_path / "m.jsonl"), "out", "--shard-samples", "6", "--quiet"]
    shards = [("renamed:train-000003.tar", 1), ("renamed:train-000004.tar.json", 1), ("rename:index.json", 1)]
    planned = each_signal(("rename:train-000002.tar", 1)) + in_turn(*shards) + each_signal(("renamed:index.json", 1))
    assert disturb(tmp_path, words, planned, "out") == len(planned)


@pytest.mark.parametrize("removed", ["index.json", "train-000000.tar"])
def test_pack_that_replaces_another_one_forgets_no_shard_of_it(tmp_path: Path, removed: str) -> None:
    """The one before had more shards; its index goes first, and then nothing but their records names them."""
    lines = [json.dumps({"key": str(n), "touch": [n, n + 0.5]}) for n in range(40)]
    for name, count in (("many", 40), ("few", 10)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines[:count]))
    words = ["data", "pack", "../many.jsonl", "out", "--shard-samples", "5", "--quiet"]
    for name in ("whole", "cut"):
        assert forked(tmp_path / name, words) == 0
    words[2:2] = ["--overwrite"]
    words[3] = "../few.jsonl"
    assert disturb(tmp_path, words, [(signal.SIGKILL, f"unlink:{removed}", 1)], "out") == 1


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_convert_killed_around_its_report(tmp_path: Path, workers: int) -> None:
    """The index is there, and the report that the same command still has to write is not."""
    home = recordings(tmp_path / "recordings", 4, 4)
    words = ["data", "convert", "touch-and-go", str(home), "-o", "out", "--shard-samples", "4", "--quiet"]
    moments = [("rename:index.json", 1), ("rename:conversion.json", 1), ("renamed:conversion.json", 1)]
    planned = in_turn(*moments, ("renamed:index.json", 1))
    assert disturb(tmp_path, [*words, "--workers", str(workers)], planned, "out") == len(planned)


def test_index_killed_by_each_signal(tmp_path: Path) -> None:
    rows = [{"key": str(n), "touch": np.array([n, n + 0.5], np.float32)} for n in range(12)]
    pack_pairs(rows, tmp_path / "shards", shard_samples=6, progress=False)
    words = ["data", "index", str(tmp_path / "shards"), "-o", "out", "--quiet"]
    assert disturb(tmp_path, words, each_signal(("rename:index.json", 1)), "out") == 3


def test_export_killed_by_each_signal(setup: Path, tmp_path: Path) -> None:
    """The pack appears whole, under its name, or not at all."""
    taught = short_run(setup, tmp_path / "taught", method="bridge", train={"steps": 0, "accelerator": "cpu"})
    words = ["export", str(taught.folder), "out", "--device", "cpu"]
    planned = in_turn(("rename:manifest.json", 1), ("rename:out", 1), ("rename:out", 1))
    assert disturb(tmp_path, words, planned, "out") == len(planned)


def in_turn(*moments: tuple[str, int]) -> list[tuple[int, str, int]]:
    """Each moment with one signal, by turns every signal."""
    return [(SIGNALS[n % 3], *moment) for n, moment in enumerate(moments)]


def each_signal(*moments: tuple[str, int]) -> list[tuple[int, str, int]]:
    return [(number, *moment) for moment in moments for number in SIGNALS]


@pytest.fixture
def evaluate_words(align_settings: Settings, pair_folder: Path, tmp_path: Path) -> list[str]:
    align_settings["train"] |= {"steps": 1, "validate_every": 0}
    align_pairs(load_config(AlignConfig, align_settings), progress=False)
    pairs = [word for edge in ("a-b", "b-c") for word in ("--pairs", str(pair_folder / edge))]
    return ["evaluate", align_settings["out"], *pairs, "--split", "val", "--limit", "8", "--out", "out", "--quiet"]


@pytest.mark.slow
def test_evaluate_killed_by_each_signal(evaluate_words: list[str], tmp_path: Path) -> None:
    planned = in_turn(("rename:report.html", 1), ("pool", 2), ("report", 1))
    assert disturb(tmp_path, evaluate_words, planned, "out") == len(planned)


@pytest.mark.slow
def test_evaluate_killed_at_every_moment(evaluate_words: list[str], tmp_path: Path) -> None:
    moments = [("pool", 1), ("rename:metrics.json", 1), ("report", 1), ("rename:report.html", 1)]
    planned = each_signal(*moments, ("renamed:report.html", 1))
    assert disturb(tmp_path, evaluate_words, planned, "out") == len(planned)


@pytest.mark.parametrize(
    ("method", "planned"),
    [
        ("random", in_turn(("matrix", 9), ("rename:scores", 1), ("matrix", 2))),  # matrix by matrix
        ("wanda", in_turn(("rename:scores", 1), ("calibration", 1))),  # in factors
        pytest.param("random", each_signal(("matrix", 1), ("renamed:scores", 1)), marks=pytest.mark.slow),
        pytest.param("wanda", each_signal(("rename:scores", 1)), marks=pytest.mark.slow),
    ],
)
def test_score_killed_by_each_signal(
    setup: Path, tmp_path: Path, method: str, planned: list[tuple[int, str, int]]
) -> None:
    shown = ["--calibration", str(setup / "lessons" / "image"), "--prompt", "{image} {question}", "--count", "8"]
    words = ["score", str(setup / "base"), "--method", method, *shown, "--out", "out/scores", "--quiet"]
    assert disturb(tmp_path, words, planned, "out") == len(planned)


@pytest.fixture
def describe_words(setup: Path, tmp_path: Path) -> list[str]:
    taught = short_run(setup, tmp_path / "taught", method="bridge", train={"steps": 1, "accelerator": "cpu"})
    asked = ["--pairs", str(setup / "lessons" / "touch"), "--split", "val", "--prompt", TOUCH["prompt"]]
    sized = ["--tokens", "3", "--batch-size", "4", "--limit", "12", "--vocabulary", str(tmp_path / "words")]
    (tmp_path / "words").write_text("\n".join(word for values in FACTORS.values() for word in values))
    return ["describe", str(taught.folder), *asked, "--reference", "{answer}", *sized, "--out", "out", "--quiet"]


def test_describe_killed_by_each_signal(describe_words: list[str], tmp_path: Path) -> None:
    planned = in_turn(("answers", 2), ("answers", 2), ("rename:generation.html", 1), ("rename:generation.json", 1))
    assert disturb(tmp_path, describe_words, planned, "out") == len(planned)


@pytest.mark.slow
def test_describe_killed_at_every_moment(describe_words: list[str], tmp_path: Path) -> None:
    planned = each_signal(("answers", 1), ("rename:generation.json", 1), ("renamed:generation.html", 1))
    assert disturb(tmp_path, describe_words, planned, "out") == len(planned)


@pytest.mark.slow
def test_describe_cut_within_a_batch(describe_words: list[str], tmp_path: Path) -> None:
    """Some answers of a batch are on disk: the others are given as they were in the whole batch."""
    assert forked(tmp_path / "whole", describe_words) == 0
    for kept in (1, 6):
        lines = (tmp_path / "whole" / "out" / "answers.jsonl").read_bytes().splitlines(keepends=True)
        (tmp_path / "cut" / "out").mkdir(parents=True, exist_ok=True)
        (tmp_path / "cut" / "out" / "answers.jsonl").write_bytes(b"".join(lines[:kept]) + lines[kept][:9])
        assert forked(tmp_path / "cut", describe_words) == 0
        assert_undisturbed(tmp_path / "whole" / "out", tmp_path / "cut" / "out")


@pytest.mark.slow
def test_demo_killed_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = demo.DemoSize(train=64, pool=24, steps=3, lessons=LessonSize(train=48, held=12, steps=2))
    monkeypatch.setattr(demo, "FAST", small)
    words = ["demo", "--fast", "--out", "out", "--workers", "1", "--quiet", "--device", "cpu", "train.batch_size=16"]
    planned = in_turn(("step", 2), ("renamed:pack", 1))
    assert disturb(tmp_path, words, planned, "out") == len(planned)
