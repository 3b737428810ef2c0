"""What must hold of a configuration of stage two, whatever machine, base and data: `plan` and the run ask the same.

Note:
    Nothing is read but the configuration, so that a setting without sense is told before anything long; what the
    shards, the base or the device decide is asked later (`pairalign.finetune.check`, `pairalign.align.precision`).
"""

from __future__ import annotations

from dataclasses import replace

import torch

from pairalign.align.precision import check_names
from pairalign.core.errors import ConfigError
from pairalign.dormant.choose import BESIDE as STRUCTURES
from pairalign.dormant.selection.relevant import check_choice
from pairalign.dormant.selection.select import check_settings
from pairalign.dormant.significance import check_score
from pairalign.finetune.architecture import floating
from pairalign.finetune.config import ForgettingConfig, RecomposeConfig
from pairalign.finetune.distil import check_distil
from pairalign.finetune.fsdp import FSDP2, check_shared
from pairalign.finetune.methods import create_method
from pairalign.finetune.methods.method import METHODS, beside_base
from pairalign.finetune.pull_back import check_pull_back
from pairalign.finetune.rehearse import check_rehearse
from pairalign.sensors.bridges.registry import check_bridge


def settled(config: RecomposeConfig) -> RecomposeConfig:
    """With what follows from the method where nothing else is said: what is trained acts from the sensor on, and at
    which rate it trains. Its plugins have to be loaded; a method that nobody registered is left to `check_config`."""
    if config.method == "dormant" and config.dormant.acts is None:
        config = replace(config, dormant=replace(config.dormant, acts="sensor"))
    if config.train.lr is None and config.method in METHODS:
        rate = METHODS[config.method].default_lr(config.dormant)
        config = replace(config, train=replace(config.train, lr=rate))
    return config


def check_config(config: RecomposeConfig) -> None:
    """Raise `ConfigError` or `DormantError` for settings that no run could have."""
    if not config.sensors:
        raise ConfigError("sensors: is empty: name at least one sensor and the stage-one run that aligned it.")
    if not config.tasks:
        raise ConfigError("tasks: is empty: name at least one set of questions and answers.")
    for name, sensor in config.sensors.items():
        check_bridge(sensor.bridge, f"sensors.{name}.bridge")
    check_names(config.train)
    check_shared(config)
    method = create_method(config.method, config.options)
    check_rehearse(config, method)
    check_distil(config, method)
    check_pull_back(config, method)
    if config.method == "dormant":
        check_settings(config.dormant.structure, config.dormant.counted, config.dormant.density)
        check_score(config.dormant.score, config.dormant.options)
        if config.scores is None:
            check_choice(config.dormant.score, config.dormant.structure, config.dormant.choose)
    if config.installed and config.method != "dormant":
        raise ConfigError(
            f"installed: method {config.method!r} owns no weights that others could leave alone: leave installed out, "
            "or train with method dormant."
        )
    floating(config.dtype, torch.float32)
    if config.probe.own and not config.train.measure_tokens:
        raise ConfigError(
            "probe.own: train.measure_tokens=0 lets the model say nothing: give it some, or leave it out."
        )
    _check_load_in(config)
    _check_gate(config)


def _check_load_in(config: RecomposeConfig) -> None:
    """What a quantised base cannot do; whether its package is there is asked where it is loaded."""
    if config.load_in is None:
        return
    asked = f"load_in={config.load_in!r}"
    if config.method not in (beside := beside_base()):
        raise ConfigError(
            f"{asked}: method={config.method!r} does not leave the base's weights alone: give {' or '.join(beside)}."
        )
    if config.method == "dormant" and config.dormant.structure not in STRUCTURES:
        raise ConfigError(
            f"{asked}: dormant.structure={config.dormant.structure!r} takes a dense weight in the place of a quantised "
            f"one: give one of {', '.join(STRUCTURES)}."
        )
    if config.train.strategy == FSDP2:
        raise ConfigError(f"{asked}: train.strategy={FSDP2!r} shares out plain weights: leave one of the two out.")


def _check_gate(config: RecomposeConfig) -> None:
    if config.max_forgetting is None:
        return
    if not config.held_out:
        raise ConfigError("max_forgetting: needs held_out tasks, whose accuracy it bounds.")
    train = config.train
    if train.epochs is None and train.validate_every > train.steps > 0:
        raise ConfigError(
            f"max_forgetting: train.validate_every={train.validate_every} is more than train.steps={train.steps}, and "
            "nothing would be measured on the way: lower it, or give 0 to look at the end alone."
        )
    bounds = config.max_forgetting
    if isinstance(bounds, ForgettingConfig) and bounds.with_signal is not None and not train.measure_with_signals:
        raise ConfigError(
            f"max_forgetting.with_signal={bounds.with_signal:g}: with train.measure_with_signals=false no prompt with "
            "a signal in it is measured: leave one of the two out."
        )
