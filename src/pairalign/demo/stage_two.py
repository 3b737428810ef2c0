"""The demo's second half: the small base model learns to answer questions about touches and clouds it never saw.

Four ways side by side: dormant weights, full tuning, the bridge alone, and recomposition without any training. All of
it synthetic.

Note:
    Few steps and one seed; `bench/front.py` has three, more methods and a grid of rates.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pairalign.core.config import load_config
from pairalign.demo.base import base_folder
from pairalign.demo.lessons import pack_lessons
from pairalign.evaluate.forgetting import change
from pairalign.finetune.config import RecomposeConfig
from pairalign.finetune.run import RecomposeRun, recompose_mllm
from pairalign.finetune.three_figures import there

DORMANT = {"score": "splash", "structure": "rows", "density": 0.1}
METHODS: dict[str, dict[str, Any]] = {
    "dormant": {"method": "dormant", "dormant": DORMANT},
    "full tuning": {"method": "full"},
    "bridge only": {"method": "bridge"},
    "recomposition": {"method": "bridge"},
}
RATE = 5e-4  # of dormant and full tuning alike
SENSORS = ("touch", "points")


@dataclass(frozen=True)
class LessonSize:
    """Questions a sensor in training, questions of each kind of measurement, optimizer steps."""

    train: int = 1200
    held: int = 180
    steps: int = 200


FAST_LESSONS = LessonSize(train=96, held=24, steps=8)


def teach(
    out: Path,
    size: LessonSize | None = None,
    *,
    seed: int = 0,
    device: str = "cpu",
    progress: bool = True,
    workers: int = 2,
) -> dict[str, RecomposeRun]:
    """Every method's finished run, by name, in `out/stage_two`; what is finished already is kept."""
    size = size or LessonSize()
    make_lessons(out / "lessons", size, seed=seed, progress=progress, workers=workers)
    found = {}
    for name in METHODS:
        if progress:
            tqdm.write(f"stage two: {name}", file=sys.stderr)
        found[name] = recompose_mllm(lesson_config(out, name, size, seed, device), progress=progress)
    return found


def make_lessons(folder: Path, size: LessonSize, *, seed: int, progress: bool, workers: int) -> None:
    """Pack questions and answers, those for training and those that only measure."""
    taught = {"train": size.train, "val": size.held}
    jobs = {"touch": taught, "touch_pairs": taught, "points": taught}
    jobs |= {name: {"val": size.held} for name in ("image", "text", "words")}
    missing = [name for name in jobs if not (folder / name / "index.json").exists()]
    with tqdm(total=len(missing), desc="write questions", unit="set", disable=not progress or not missing) as bar:
        if workers < 2 or len(missing) < 2:
            for name in missing:
                pack_lessons(folder, name, jobs[name], seed)
                bar.update()
            return
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as processes:
            for done in [processes.submit(pack_lessons, folder, name, jobs[name], seed) for name in missing]:
                done.result()
                bar.update()


def lesson_config(out: Path, name: str, size: LessonSize, seed: int, device: str = "cpu") -> RecomposeConfig:
    """The configuration of one method."""
    asked = {"answer": "{answer}"}
    touch = {"shards": "lessons/touch", "prompt": "{touch} {question}", **asked}
    points = {"shards": "lessons/points", "prompt": "{points} {question}", **asked}
    pairs: dict[str, Any] = {
        "shards": "lessons/touch_pairs",
        "prompt": "{first} and {second} {question}",
        "signals": {"first": "touch", "second": "touch"},
        **asked,
    }
    taught: dict[str, dict[str, Any]] = {"touch": touch, "touch pairs": pairs, "points": points}
    plain = {"image": "{image} {question}", "text": "{text}. {question}", "words": "{question}"}
    trained = name != "recomposition"
    settings: dict[str, Any] = {"run": "run", "tokens": 4}
    if not trained:
        settings |= {"bridge": "recomposition", "images": "pairs/image-touch", "image_count": 256}
    values = {
        "base": str(base_folder()),
        "dtype": "float32",
        "root": str(out),
        "out": str(out / "stage_two" / name.replace(" ", "_")),
        "cache": str(out / "stage_two" / "cache"),
        "seed": seed,
        "sensors": {sensor: settings for sensor in SENSORS},
        "tasks": taught,
        "validation": {task: {**told, "split": "val"} for task, told in taught.items()},
        "held_out": {
            task: {"shards": f"lessons/{task}", "prompt": prompt, "split": "val", **asked}
            for task, prompt in plain.items()
        },
        "calibration": {"captions": {"shards": "pairs/image-text", "prompt": "{image} {text}", "answer": ""}},
        "calibration_size": min(96, size.train),
        **METHODS[name],
        "train": {
            "steps": size.steps if trained else 0,
            "batch_size": 24,
            "warmup": 20,
            "lr": RATE,
            "bridge_lr": 2e-3,
            "accelerator": device,
            "validate_every": max(1, size.steps // 4) if trained else 0,
        },
    }
    return load_config(RecomposeConfig, values)


def lesson_figures(runs: dict[str, RecomposeRun]) -> dict[str, float]:
    """Learning and forgetting of every method in points, flat."""
    found: dict[str, float] = {}
    for name, (gained, lost) in points_of(runs).items():
        found[f"stage two: learning, {name}"] = gained
        found[f"stage two: forgetting, {name}"] = lost
        again = (runs[name].results.get("with_signals") or {}).get("forgetting", {})
        for position, words in there(again).items():
            found[f"stage two: forgetting with {words}, {name}"] = again[position]["points"]
    return found


def points_of(runs: dict[str, RecomposeRun]) -> dict[str, tuple[float, float]]:
    """Points learned and forgotten by method, all against the base with an untrained bridge.

    Recomposition has no state before it; its own run compares it with itself.
    """
    base = runs["dormant"].results["base"]
    found = {}
    for name, run in runs.items():
        points = []
        for part in ("validation", "held_out"):
            before, after = (
                {task: score["accuracy"] for task, score in measured[part].items()}
                for measured in (base, run.results["after"])
            )
            points.append(change(before, after).points)
        found[name] = (points[0], 0.0 - points[1])
    return found
