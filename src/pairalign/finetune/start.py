"""A run that goes on where another one ended: `start` of its configuration, which skills in sequence are made of.

The base is assembled and measured as ever, with fresh bridges, so that every run of a chain is compared with one and
the same base; then it gets what the run before has left, and the optimizer and its schedule begin anew.

Note:
    The run before is another folder, which has to stay until this run has finished, and is read again at each
    resumption; afterwards this run's own folder has everything. Dormant values are taken up as they were saved, rounded
    to the base's dtype.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from pairalign.core.config import to_dict
from pairalign.core.errors import ConfigError
from pairalign.finetune.config import RecomposeConfig
from pairalign.finetune.fsdp import FSDP2
from pairalign.finetune.gate import Measured
from pairalign.finetune.identity import RESULTS, base_hash, recompose_identity
from pairalign.finetune.load import load_bridges, read_results, read_weights
from pairalign.finetune.measured import scored
from pairalign.finetune.methods.method import METHODS, Left, Method, Setup
from pairalign.runs.folder import RunFolder
from pairalign.sensors.model import SensorModel

ALIKE = ("dtype", "load_in", "method", "options", "installed")
MEASURED = ("validation", "held_out")
ASKED = (*MEASURED, "probe")


def begin(config: RecomposeConfig, model: SensorModel, method: Method, setup: Setup) -> nn.Module:
    """The language model as it trains: the base's, or one that has what the run before left; its bridges then, too."""
    if config.start is None:
        return method.prepare(model.llm, setup)
    folder = start_folder(config)
    load_bridges(model, folder)
    files = {name: folder / f"{name}.safetensors" for name in ("trained", "carried")}
    changed, carried = (read_weights(path) if path.exists() else {} for path in files.values())
    return method.proceed(model.llm, setup, Left(folder, changed, carried, config.start.updates))


def start_folder(config: RecomposeConfig) -> Path:
    """Where the run before lies."""
    assert config.start is not None
    return Path(config.root) / config.start.run


def check_start(config: RecomposeConfig) -> None:
    """Raise `ConfigError` for a run before that this one cannot go on from."""
    if config.start is None:
        return
    if config.train.strategy == FSDP2:
        raise ConfigError(f"start: not with train.strategy={FSDP2!r}: give 'ddp'.")
    if config.train.pull_back is not None:
        raise ConfigError(f"start: not with train.pull_back={config.train.pull_back!r}: leave it out.")
    told = _told(config)
    for name in ALIKE:
        was, now = getattr(told, name), getattr(config, name)
        if was != now:
            raise ConfigError(f"start.run={config.start.run!r}: was trained with {name}={was!r}, this has {now!r}.")
    hashes = RunFolder(start_folder(config), "recompose", RecomposeConfig).record().get("made_from", {})
    if (was := hashes.get("base")) is not None and (base_hash(config.base) or was) != was:
        raise ConfigError(
            f"start.run={config.start.run!r}: was trained on another base than {config.base!r}: take that."
        )
    _check_updates(config, told)


def _check_updates(config: RecomposeConfig, told: RecomposeConfig) -> None:
    assert config.start is not None
    run = f"start.run={config.start.run!r}"
    if config.start.updates == "new" and METHODS[config.method].leaves in ("delta", "modules"):
        raise ConfigError(
            f"start.updates='new': what method {config.method!r} trains stands beside the base and goes on as it is: "
            "give 'same'."
        )
    if set(told.sensors) - set(config.sensors):
        gone = sorted(set(told.sensors) - set(config.sensors))[0]
        raise ConfigError(f"sensors: {run} has sensor {gone!r}: name it here, too (with trained: false to keep it).")
    if config.method == "dormant" and to_dict(told.dormant) != to_dict(config.dormant):
        raise ConfigError(f"dormant: {run} was trained with {told.dormant}: give the same settings.")
    if config.method == "dormant" and list(told.sensors) != list(config.sensors):
        raise ConfigError(
            f"sensors: the weights of {run} are of {'+'.join(told.sensors)}, this has {'+'.join(config.sensors)}: name "
            "the same in both, those that a run does not teach with trained: false."
        )
    if told.train.pull_back not in (None, 1) and config.method == "lora" and config.start.updates == "same":
        raise ConfigError(f"start.updates='same': {run} was pulled back, and its adapter was not: give 'new'.")


def _told(config: RecomposeConfig) -> RecomposeConfig:
    folder = start_folder(config)
    run = RunFolder(folder, "recompose", RecomposeConfig)
    if not run.finished:
        raise ConfigError(f"start.run={str(folder)!r}: no finished run of `pairalign recompose` is there: finish it.")
    found: RecomposeConfig = run.read_config()
    return found


def measured_before(config: RecomposeConfig) -> Measured | None:
    """What the run before measured at its end, if it asked the very same in the very same way; else `None`."""
    folder, told = start_folder(config), _told(config)
    same = all(getattr(told, name) == getattr(config, name) for name in MEASURED)
    same = (
        same
        and told.train.measure_batch_size == config.train.measure_batch_size
        and told.sensors.keys() == set(config.sensors)
    )
    record = RunFolder(folder, "recompose", RecomposeConfig).record().get("made_from", {})
    if not same or _shards(record) != _shards(recompose_identity(replace(config, start=None)).made_from):
        return None
    return scored(read_results(folder / RESULTS)["after"])


def _shards(made_from: Mapping[str, Any]) -> dict[str, Any]:
    parts = tuple(f"shards of {part}." for part in MEASURED)
    return {name: value for name, value in made_from.items() if name.startswith(parts)}
