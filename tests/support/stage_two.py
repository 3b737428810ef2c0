"""A tiny stage two on disk: a random base, a stage-one run of two steps, questions and answers of the world."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import pairalign as pa
from pairalign.core.config import load_config
from pairalign.demo.base import build_base, build_processor
from pairalign.demo.lessons import pack_lessons
from pairalign.demo.run import DemoSize, demo_config, make_world
from pairalign.finetune.config import RecomposeConfig
from pairalign.finetune.module import StageTwo
from pairalign.finetune.run import RecomposeRun, recompose_mllm
from pairalign.sensors.model import SensorModel
from pairalign.sensors.processor import SensorProcessor

Base = tuple[SensorModel, SensorProcessor]

ASKED = {"answer": "{answer}"}
TOUCH = {"shards": "lessons/touch", "prompt": "{touch} {question}", **ASKED}
PAIRS = {
    "shards": "lessons/touch_pairs",
    "prompt": "{first} and {second} {question}",
    "signals": {"first": "touch", "second": "touch"},
    **ASKED,
}
DORMANT = {"score": "splash", "structure": "rows", "density": 0.25}
LEAN = {"measure_tokens": 2, "measure_with_signals": False, "keep_checkpoint": True}
IMAGE = {"shards": "lessons/image", "prompt": "{image} {question}", **ASKED}


def make_setup(folder: Path) -> Path:
    """Make it once in a folder that several processes may share."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            _make(folder)
            (folder / "done").touch()
    return folder


def _make(folder: Path) -> None:
    torch.manual_seed(0)
    build_base(width=32, layers=2, vision_layers=1).save_pretrained(folder / "base")
    build_processor().save_pretrained(folder / "base")
    size = DemoSize(train=64, pool=8, steps=2)
    config = demo_config(folder / "demo", size, 0, ("train.batch_size=16",))
    make_world(folder / "demo" / "pairs", config, size, seed=0, progress=False)
    pa.align_pairs(config, progress=False)
    for name in ("touch", "touch_pairs", "points", "image", "words"):
        pack_lessons(folder / "lessons", name, {"train": 48, "val": 24})


def values(setup: Path, out: Path, **changes: Any) -> dict[str, Any]:
    """The settings of a short run, which measures in short: free answers of two tokens, held-out questions asked once.

    What a test says of `train` stands in the place of the rest of it, not of `LEAN`.
    """
    train = {"steps": 6, "batch_size": 8, "validate_every": 3, "warmup": 1, "accelerator": "cpu", "lr": 0.01}
    return {
        "base": str(setup / "base"),
        "out": str(out),
        "root": str(setup),
        "sensors": {"touch": {"run": "demo/run", "tokens": 2}},
        "tasks": {"touch": TOUCH, "pairs": PAIRS},
        "validation": {"touch": {**TOUCH, "split": "val"}},
        "held_out": {"image": {**IMAGE, "split": "val"}},
        "calibration": {"pictures": IMAGE},
        "calibration_size": 16,
        "dormant": DORMANT,
        **changes,
        "train": {**LEAN, **changes.get("train", train)},
    }


def settings(setup: Path, out: Path, **changes: Any) -> RecomposeConfig:
    return load_config(RecomposeConfig, values(setup, out, **changes))


@contextmanager
def killed(at: int = 0) -> Iterator[None]:
    """Within it training dies at a step, as of a kill: nothing is written then. That it died is asserted."""
    step = StageTwo.training_step

    def dies(self: StageTwo, batch: Any, batch_idx: int) -> torch.Tensor:
        if self.global_step == at:
            raise RuntimeError("killed")
        return step(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StageTwo, "training_step", dies)
        with pytest.raises(RuntimeError, match="killed"):
            yield


def short_run(setup: Path, out: Path, *, fresh: bool = False, **changes: Any) -> RecomposeRun:
    return recompose_mllm(settings(setup, out, **changes), progress=False, fresh=fresh)
