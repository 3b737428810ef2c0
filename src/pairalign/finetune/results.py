"""What a run of stage two leaves: results.json's figures, the trained weights, and the receipt of the kept ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pairalign.dormant.model import DormantModel
from pairalign.dormant.provenance import fingerprint
from pairalign.dormant.receipt import write_receipt
from pairalign.files import save_tensors, sha256_text
from pairalign.finetune.callbacks import EvaluationCallback
from pairalign.finetune.config import RecomposeConfig
from pairalign.finetune.fsdp import read_along
from pairalign.finetune.gate import flat, moved
from pairalign.finetune.measured import plain
from pairalign.finetune.methods import Method
from pairalign.finetune.pull_back import told
from pairalign.sensors.model import SensorModel
from pairalign.sensors.sensor import Sensor


def summarise(config: RecomposeConfig, callback: EvaluationCallback) -> dict[str, Any]:
    """What was measured, of the base, in between and after, and how it moved."""
    base, after = callback.reference, callback.after
    found: dict[str, Any] = {"method": config.method, "seed": config.seed, "stopped": callback.verdict}
    found["kept"] = {"step": callback.kept, "learned": callback.learned}
    for part, name, sign in (("validation", "learning", 1), ("held_out", "forgetting", -1)):
        change = moved(base, after, part)
        if change is not None:
            points = sign * change.points + 0.0
            found[name] = {"points": points, "worst": change.worst, "worst_points": change.worst_points}
    found["gate"] = callback.gate.told(base, after)
    for name, measured in (("base", base), ("after", after)):
        found[name] = plain(measured)
    found["with_signals"] = callback.asked_again
    found["pull_back"] = told(callback.pull, flat)
    found["base_from"] = callback.taken
    found["history"] = [{"step": step, **flat(measured)} for step, measured in callback.history]
    return found


def save_trained(folder: Path | None, model: SensorModel, method: Method, before: dict[str, str] | None) -> None:
    """Write bridges, what the method changed, and the receipt against `before`, the base's fingerprints.

    folder: `None` in a process that only helps another one to read weights that they hold together.
    """
    changed = {} if before is not None else method.changed(model.llm)
    if folder is None:
        read_along(model.llm, before)
        return
    parts = {"bridge": sensor_weights(model), "trained": changed, "carried": method.carried()}
    for name, tensors in parts.items():
        if tensors:
            save_tensors(folder / f"{name}.safetensors", tensors)
    if isinstance(model.llm, DormantModel):
        model.llm.save_pretrained(folder / "dormant")
    if before is not None:
        write_receipt(model.llm, before, folder / "receipt.json")


def sensor_weights(model: SensorModel) -> dict[str, Tensor]:
    """Bridges, and what of the sensors' encoders trained."""
    tuned = tuned_weights(model)
    held = {n: t for n, t in model.sensors.state_dict().items() if ".bridge." in f".{n}" or n in tuned}
    return {name: tensor.detach().cpu().contiguous() for name, tensor in held.items()}


def tuned_weights(model: SensorModel) -> set[str]:
    """Names of the encoders' weights that train or have trained, as `model.sensors` calls them."""
    sensors: Mapping[str, Sensor] = dict(model.sensors.items())  # type: ignore[arg-type]
    return {f"{name}.{weight}" for name, module in sensors.items() for weight in module.changed}


def tuned_sensors(model: SensorModel) -> dict[str, dict[str, Any]]:
    """Of each sensor whose encoder trained, how many of its weights did and a SHA-256 of them, for results.json."""
    found: dict[str, dict[str, Any]] = {}
    state, tuned = model.sensors.state_dict(), tuned_weights(model)
    for name in model.sensors:
        own = {weight: state[weight] for weight in sorted(tuned) if weight.startswith(f"{name}.")}
        if own:
            digest = sha256_text("".join(f"{weight} {fingerprint(value)}" for weight, value in own.items()))
            found[name] = {"weights": sum(value.numel() for value in own.values()), "sha256": digest}
    return found
