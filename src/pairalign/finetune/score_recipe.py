"""What a recipe of stage two scores its base by, without its sensors: the layers, and the calibration tasks' batches.

Note:
    Calibration tasks that show a sensor need its stage-one run, and are scored within `recompose` alone.
"""

from __future__ import annotations

import torch
from torch import nn

from pairalign.core.errors import ConfigError
from pairalign.dormant.linears import find_linears
from pairalign.dormant.provenance import Calibration
from pairalign.dormant.selection.select import UNSCORED
from pairalign.finetune.assemble import loading_of
from pairalign.finetune.check import named_tasks
from pairalign.finetune.collator import Collator, calibration_batches
from pairalign.finetune.config import RecomposeConfig
from pairalign.finetune.rules import check_config
from pairalign.runs.plugins import load_plugins
from pairalign.sensors.processor import SensorProcessor, load_base


def load_scored(
    config: RecomposeConfig, device: torch.device
) -> tuple[nn.Module, dict[str, nn.Linear], Calibration | None]:
    """The base, the layers that the recipe names, and its calibration set; raise what the run would."""
    load_plugins(config.plugins)
    check_config(config)
    which = config.dormant
    if config.method != "dormant" or which.structure in UNSCORED:
        raise ConfigError(f"method={config.method!r}, structure={which.structure!r}: no score chooses its weights.")
    tasks = named_tasks(config, "calibration")
    for task in tasks:
        if task.sensor:
            raise ConfigError(
                f"calibration.{task.name}: it shows {next(iter(task.sensor.values()))!r}, which the base alone cannot "
                "read: let `pairalign recompose` score it."
            )
    model, processor = load_base(config.base, config.dtype, device, loading_of(config))
    linears = find_linears(model, which.target_modules, which.exclude_modules, which.layers_to_transform)
    collate, shown = Collator(SensorProcessor(processor, {})), Calibration()
    for task in tasks:
        shown.extend_by(calibration_batches(task, collate, config.calibration_size))
    return model, linears, shown or None
