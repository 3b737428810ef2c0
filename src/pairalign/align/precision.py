"""What Lightning's trainer can do on a device: precision and strategy, checked by name before anything long.

Note:
    "…-mixed" computes in that precision and keeps weights as they are; "bf16-true" would round them all, those of
    frozen towers and of the base too, which have to stay. What does not train on a device is refused, because Lightning
    would take another precision instead, or fail in the first step.
"""

from __future__ import annotations

from typing import Any

import torch

from pairalign.core.errors import ConfigError, did_you_mean

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
ROUNDED = ("bf16-true", "16-true")
SAME = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}  # older spellings that Lightning takes


def check_trainer(train: Any, device: torch.device) -> None:
    """Raise `ConfigError` for a precision or strategy that is unknown, or that cannot train on this device.

    train: settings with the names of `TrainerConfig`.
    """
    check_names(train)
    if SAME.get(train.precision, train.precision) == "16-mixed" and device.type == "cpu":
        raise ConfigError(f"train.precision={train.precision!r} needs a GPU: on cpu give bf16-mixed or 32-true.")


def check_names(train: Any) -> None:
    """Raise `ConfigError` for a precision or strategy that is unknown, or trains nowhere."""
    from lightning.pytorch.strategies import StrategyRegistry

    found = SAME.get(train.precision, train.precision)
    if found in ROUNDED:
        raise ConfigError(
            f"train.precision={train.precision!r} would round the weights that stay frozen, too: give bf16-mixed; in "
            "stage two dtype: bfloat16 loads the base in bfloat16."
        )
    if found not in PRECISIONS:
        known = ", ".join(PRECISIONS)
        raise ConfigError(f"train.precision={train.precision!r}: give one of {known}.{did_you_mean(found, PRECISIONS)}")
    strategies = ["auto", "fsdp2", *StrategyRegistry.available_strategies()]
    if train.strategy not in strategies:
        raise ConfigError(
            f"train.strategy={train.strategy!r}: give auto, ddp or another that Lightning knows."
            f"{did_you_mean(train.strategy, strategies)}"
        )
