"""One run as the product's own configuration.

`fold` chooses: touches, pictures and facts that the end never sees. `whole` measures: all training contacts, the test
contacts, and the other halves of pictures and facts.

Note:
    All paths lie under WORK. Whatever a run does to the language model, its calibration is the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

from real.arms import Arm
from real.lessons import FIRST, LESSONS
from real.senses import SENSES

Where = Literal["fold", "whole"]
MEASURED: dict[Where, str] = {"fold": "val", "whole": "test"}
BATCH, STEPS, BRIDGE_RATE, SHOWN = 8, 40, 2e-3, 32


class Run(NamedTuple):
    """limit: of each held-out task so many questions; none for all. signals: whether they are also asked with a signal
    in the prompt, which no rate is chosen by. dtype: of the base; in 16 bits full tuning loses its smallest steps.
    short: of validation, too, only the first so many."""

    arm: Arm
    rate: float
    seed: int
    where: Where
    steps: int = STEPS
    limit: int | None = None
    signals: bool = True
    dtype: str = "float32"
    short: int | None = None

    @property
    def name(self) -> str:
        """What its folder and record are called."""
        few = "" if self.limit is None else f"first {self.limit}"
        kind = "" if self.dtype == "float32" else self.dtype
        kind += "" if self.short is None else f" short {self.short}"
        words = f"{self.where} {self.arm.name} {self.rate:g} {self.steps} {self.seed} {few} {kind}"
        return "-".join("".join(c if c.isalnum() or c == "." else " " for c in words).split())


def stage_one(work: Path, sense: str, where: Where, seed: int) -> Path:
    """The folder of a run of stage one."""
    return work / "stage-one" / f"{sense}-{where}-{seed}"


def settings(run: Run, work: Path) -> dict[str, Any]:
    """What `load_config(RecomposeConfig, …)` takes."""
    tasks = {name: _taught(run.where, name, "train") for name in run.arm.lessons}
    sense, apart = SENSES[run.arm.sense], run.arm.lessons[0].endswith("apart")
    first = [] if apart else [FIRST[sense.name]]  # objects that others are apart from are in training
    asked = {name: _taught(run.where, name, "test") for name in dict.fromkeys([*first, *run.arm.lessons])}
    if run.short is not None:
        asked = {name: {**task, "limit": run.short} for name, task in asked.items()}
    steps = round(run.steps * run.arm.steps)
    return {
        "base": str(work / "base"),
        "dtype": run.dtype,
        "root": str(work / "lessons"),
        "out": str(work / "taught" / run.name),
        "cache": str(work / "cache"),
        "seed": run.seed,
        "sensors": {sense.name: {"run": str(stage_one(work, sense.name, run.where, run.seed)), "tokens": 4}},
        "plugins": sense.plugins,
        "tasks": tasks,
        "validation": asked,
        "held_out": _held_out(run.where, run.limit),
        "calibration": {
            "pictures": {"shards": "pictures", "prompt": "{image} {question}", "answer": ""},
            "questions": {"shards": "shown", "prompt": "{question}", "answer": ""},
            "passages": {"shards": "passages", "prompt": "{text}", "answer": ""},
        },
        "calibration_size": SHOWN,
        "method": run.arm.method,
        "options": run.arm.options,
        "dormant": run.arm.dormant,
        "train": {
            "steps": steps,
            "batch_size": BATCH,
            "lr": run.rate,
            "bridge_lr": BRIDGE_RATE,
            "warmup": min(5, steps),
            "precision": "bf16-mixed",
            "accelerator": "cpu",
            "threads": 1,
            "prefix_memory": 1.0,
            "measure_with_signals": run.signals,
            **run.arm.train,
        },
    }


def _taught(where: Where, name: str, split: str) -> dict[str, Any]:
    lesson = LESSONS[name]
    shown = " and ".join(f"{{{field}}}" for field in lesson.fields)
    prompt = f"{shown} {lesson.question or '{question}'}"
    told = {"shards": f"{where}/{name}", "prompt": prompt, "answer": "{answer}", "split": split}
    return {**told, "signals": dict.fromkeys(lesson.fields, lesson.sense)} if lesson.two else told


def _held_out(where: Where, limit: int | None) -> dict[str, Any]:
    """Pictures and facts; at the end also questions of other kinds."""
    kinds = ("facts",) if where == "fold" else ("facts", "yes or no", "compared")
    found = {"pictures": {"shards": "pictures", "prompt": "{image} {question}"}}
    found |= {name: {"shards": name, "prompt": "{question}"} for name in kinds}
    more = {} if limit is None else {"limit": limit}
    return {name: {**task, "answer": "{answer}", "split": MEASURED[where], **more} for name, task in found.items()}
