"""How long a run of stage two is, where that is said in passes over its data.

An epoch is as many places as the training tasks have samples together, wherever their weights put them: with unequal
weights a small task is seen more often than a large one. Places that rehearse are not counted.

Note:
    The samples are those of the shards when the run begins, and more processes take fewer steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from pairalign.finetune.config import RecomposeConfig
from pairalign.finetune.sampling import rehearsed_places
from pairalign.finetune.tasks import Task


def with_steps(config: RecomposeConfig, tasks: Sequence[Task], world: int = 1) -> RecomposeConfig:
    """The configuration with steps in the place of epochs, for a run of `world` processes; the same without epochs."""
    train = config.train
    if train.epochs is None:
        return config
    samples = sum(len(task) for task in tasks if task.config.weight)
    turns = train.accumulate * world
    places = train.batch_size * turns - sum(rehearsed_places(train.rehearse.share, train.batch_size, turns))
    steps = math.ceil(train.epochs * samples / max(1, places))
    return replace(config, train=replace(train, steps=steps, epochs=None))


def told_world(config: RecomposeConfig) -> int:
    """How many processes the configuration asks for; one where it leaves that to the machine."""
    devices = config.train.devices
    return config.train.nodes * (devices if isinstance(devices, int) else 1)
