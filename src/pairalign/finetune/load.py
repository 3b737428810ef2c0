"""A finished run of stage two, loaded from its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from pairalign.core.errors import CheckpointError
from pairalign.core.limits import parse_json
from pairalign.dormant.model import DormantModel
from pairalign.finetune.assemble import assemble
from pairalign.finetune.config import RecomposeConfig
from pairalign.finetune.methods import create_method
from pairalign.finetune.results import tuned_weights
from pairalign.runs.folder import RunFolder
from pairalign.runtime import DeviceLike, find_device
from pairalign.sensors.model import SensorModel
from pairalign.sensors.processor import SensorProcessor
from pairalign.sensors.sensor import Sensor


@dataclass(frozen=True)
class RecomposeRun:
    """A finished run: folder, configuration, the model in evaluation mode, its processor, and what was measured.

    finished: when it had finished, if it had before and nothing was trained now.
    """

    folder: Path
    config: RecomposeConfig
    model: SensorModel
    processor: SensorProcessor
    results: dict[str, Any]
    finished: str | None = None


def load_recomposed(
    folder: str | Path,
    device: DeviceLike = "cpu",
    *,
    plugins: Sequence[str | Path] = (),
    trust_remote_code: bool = False,
) -> RecomposeRun:
    """Load a finished run, wherever its folder is now, with the plugins that it keeps.

    Args:
        folder: of the run.
        device: where the model goes, see `find_device`.
        plugins: files to take instead of those of the same name that the run keeps.
        trust_remote_code: run Python code that comes with the base; what the run's own configuration says of it does
            not count, for a run may come from somebody else.

    Returns:
        The run, in evaluation mode.

    Raises:
        CheckpointError: if it is unfinished or damaged, or its method cannot be loaded.
        IdentityError: if a plugin was edited after training.
    """
    folder, run = Path(folder), RunFolder(Path(folder), "recompose", RecomposeConfig)
    if not (folder / "results.json").is_file():
        raise CheckpointError(f"run {str(folder)!r} is not finished: run the same `pairalign recompose` to go on.")
    config = run.read_config()
    config = replace(config, out=str(folder), plugins=run.to_load(config.plugins, plugins))
    results = read_results(folder / "results.json")
    model, processor = assemble(replace(config, trust_remote_code=trust_remote_code), find_device(device))
    load_bridges(model, folder, encoders=True)
    method = create_method(config.method, config.options)
    if method.leaves == "delta":
        model.llm = DormantModel.from_pretrained(model.llm, folder / "dormant")
    elif method.leaves != "base":
        model.llm = method.restore(model.llm, read_weights(folder / "trained.safetensors"))
    return RecomposeRun(folder, config, model.eval(), processor, results)


def read_results(path: Path) -> dict[str, Any]:
    """What a finished run measured; raise `CheckpointError` where the file is damaged."""
    try:
        return dict(parse_json(path.read_bytes(), "the results", "table"))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{str(path)!r} is damaged ({error}): copy it again, or delete it, and the same `pairalign recompose` goes "
            "on from the last checkpoint."
        ) from error


def load_bridges(model: SensorModel, folder: Path, *, encoders: bool = False) -> None:
    """Give a model's sensors the bridges of a finished run, and what of their encoders trained; raise `CheckpointError`
    where one is of another kind. encoders: those that train must be there."""
    path = folder / "bridge.safetensors"
    weights = read_weights(path)
    try:
        missing = model.sensors.load_state_dict(weights, strict=False)
    except RuntimeError as error:  # of other sizes
        raise CheckpointError(f"{str(path)!r} does not fit: {str(error).splitlines()[-1].strip()}") from error
    needed = tuned_weights(model) if encoders else set()
    if missing.unexpected_keys or any(".bridge." in name or name in needed for name in missing.missing_keys):
        raise CheckpointError(f"{str(path)!r} does not fit the configuration beside it.")
    for name, sensor in model.sensors.items():
        own = {key.removeprefix(f"{name}.") for key in weights if key.startswith(f"{name}.encoder.")}
        cast("Sensor", sensor).changed |= own


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"weights {str(path)!r} are missing or damaged ({error}): train again.") from error
