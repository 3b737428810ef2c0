"""What a run of stage two leaves: results.json's figures, the trained weights, and the receipt of the kept ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from pairalign.dormant.model import DormantModel
from pairalign.dormant.receipt import write_receipt
from pairalign.files import save_tensors
from pairalign.finetune.callbacks import Watch, flat, plain
from pairalign.finetune.config import RecomposeConfig
from pairalign.finetune.fsdp import read_along
from pairalign.finetune.gate import moved
from pairalign.finetune.methods import Method
from pairalign.finetune.pull_back import told
from pairalign.sensors.model import SensorModel


def summarise(config: RecomposeConfig, watch: Watch) -> dict[str, Any]:
    """What was measured, of the base, in between and after, and how it moved."""
    base, after = watch.reference, watch.after
    found: dict[str, Any] = {"method": config.method, "seed": config.seed, "stopped": watch.verdict}
    found["kept"] = {"step": watch.kept, "learned": watch.learned}
    for part, name, sign in (("validation", "learning", 1), ("held_out", "forgetting", -1)):
        change = moved(base, after, part)
        if change is not None:
            points = sign * change.points + 0.0
            found[name] = {"points": points, "worst": change.worst, "worst_points": change.worst_points}
    for name, measured in (("base", base), ("after", after)):
        found[name] = plain(measured)
    found["with_signals"] = watch.asked_again
    found["pull_back"] = told(watch.pull, flat)
    found["base_from"] = watch.taken
    found["history"] = [{"step": step, **flat(measured)} for step, measured in watch.history]
    return found


def save_trained(folder: Path | None, model: SensorModel, method: Method, before: dict[str, str] | None) -> None:
    """Write bridges, what the method changed, and the receipt against `before`, the base's fingerprints.

    folder: `None` in a process that only helps another one to read weights that they hold together.
    """
    changed = {} if before is not None else method.changed(model.llm)
    if folder is None:
        read_along(model.llm, before)
        return
    parts = {"bridge": _state(model.senses, "bridge."), "trained": changed, "carried": method.carried()}
    for name, tensors in parts.items():
        if tensors:
            save_tensors(folder / f"{name}.safetensors", tensors)
    if isinstance(model.llm, DormantModel):
        model.llm.save_pretrained(folder / "dormant")
    if before is not None:
        write_receipt(model.llm, before, folder / "receipt.json")


def _state(senses: nn.Module, part: str) -> dict[str, torch.Tensor]:
    return {n: t.detach().cpu().contiguous() for n, t in senses.state_dict().items() if f".{part}" in f".{n}"}
