"""What Lightning's trainer can do on a device: precision and strategy, checked by name before anything long.

Where it bites: "…-true" turns the whole model into that precision, "…-mixed" keeps weights in float32; what does not
train there is refused, because Lightning would take another precision instead, or fail in the first step.
"""

from __future__ import annotations

from typing import Any

import torch

from pairalign.core.errors import ConfigError, did_you_mean

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "bf16-true")
SAME = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}  # older spellings that Lightning takes


def check_trainer(train: Any, device: torch.device) -> None:
    """Raise `ConfigError` for a precision or strategy that is unknown, or that cannot train on this device.

    train: settings with the names of `TrainConfig`.
    """
    from lightning.pytorch.strategies import StrategyRegistry

    found = SAME.get(train.precision, train.precision)
    if found not in PRECISIONS:
        known = ", ".join(PRECISIONS)
        raise ConfigError(f"train.precision={train.precision!r}: give one of {known}.{did_you_mean(found, PRECISIONS)}")
    if found == "16-mixed" and device.type == "cpu":
        raise ConfigError(f"train.precision={train.precision!r} needs a GPU: on cpu give bf16-mixed or 32-true.")
    strategies = ["auto", "fsdp2", *StrategyRegistry.available_strategies()]
    if train.strategy not in strategies:
        raise ConfigError(
            f"train.strategy={train.strategy!r}: give auto, ddp or another that Lightning knows."
            f"{did_you_mean(train.strategy, strategies)}"
        )
