"""metrics.jsonl across kills: a checkpoint knows how far it was written; who goes on takes back what came after.

Note:
    What a killed run logged after its last checkpoint is logged again by the run that goes on, and a power cut may
    leave half a line anywhere, or take away more than was logged since the checkpoint. A run without a checkpoint
    begins an empty file (`RunFolder.begin`).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import lightning as L

from pairalign.core.errors import DataError
from pairalign.core.limits import parse_json
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
        else:
            cut_lines(self.path, self.bytes)


def cut_lines(path: Path, length: int) -> None:
    """Keep the whole lines within the first `length` bytes, and say how much of these is gone."""
    with path.open("rb+") as file:
        kept = file.read(length).rpartition(b"\n")
        size = file.truncate(len(kept[0] + kept[1]))
    if size < length:
        print(f"{str(path)!r} lost {length - size} bytes of its end, what was measured there is gone", file=sys.stderr)


def forget_after(path: Path, step: int) -> None:
    """Drop lines of later steps, and what is no whole line."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(True)
    write_text(path, "".join(line for line in lines if line.endswith("\n") and _step(line) <= step))


def read_metrics(folder: str | Path) -> list[dict[str, float]]:
    """The logged metrics of a run, one dict a line of metrics.jsonl; half a line is left out, at its end or within."""
    lines = (Path(folder) / "metrics.jsonl").read_text(encoding="utf-8", errors="replace").splitlines(True)
    return [parse_json(line) for line in lines if line.endswith("\n") and _step(line) < float("inf")]


def _step(line: str) -> float:
    try:
        return float(parse_json(line)["step"])
    except (ValueError, KeyError, TypeError, OverflowError, DataError):
        return float("inf")
