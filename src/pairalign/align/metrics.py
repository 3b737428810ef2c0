"""metrics.jsonl across kills: a checkpoint knows how far it was written; who goes on takes back what came after.

Where it bites: what a killed run logged after its last checkpoint is logged again by the run that goes on, and a full
disk or a power cut may leave half a line. A run without a checkpoint begins an empty file (`RunFolder.begin`).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import lightning as L

from pairalign.files import write_text


class MetricsLength(L.Callback):
    """Keep the bytes of `path` in every checkpoint, and cut the file to them when training goes on from one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes: int | None = None

    def state_dict(self) -> dict[str, Any]:
        """How much is written."""
        return {"bytes": self.path.stat().st_size if self.path.exists() else 0}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """How much was written."""
        self.bytes = state_dict["bytes"]

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero or not trainer.ckpt_path or not self.path.exists():
            return
        if self.bytes is None:  # a checkpoint of an earlier version
            forget_after(self.path, trainer.global_step)
        elif self.path.stat().st_size > self.bytes:
            os.truncate(self.path, self.bytes)


def forget_after(path: Path, step: int) -> None:
    """Drop lines of later steps, and what is no whole line."""
    kept = [line for line in path.read_text(encoding="utf-8").splitlines(True) if _step(line) <= step]
    write_text(path, "".join(kept))


def read_metrics(folder: str | Path) -> list[dict[str, float]]:
    """The logged metrics of a run, one dict a line of metrics.jsonl; half a line at its end is left out."""
    lines = (Path(folder) / "metrics.jsonl").read_text(encoding="utf-8").splitlines(True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
