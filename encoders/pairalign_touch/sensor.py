"""A learned token for the type of touch sensor, with a fallback for a type that training never saw.

Source: the sensor-type token of AnyTouch (arXiv:2502.12191).

Note:
    The fallback is only as good as its training, so the type is hidden at random from a tenth of the training samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pairalign.core.errors import SignalError, did_you_mean

UNKNOWN = "unknown"


class SensorToken(nn.Module):
    """Numbers of sensor types (B,) → (B, width); number 0 is the unknown type."""

    def __init__(self, types: int, width: int, hide: float = 0.1) -> None:
        super().__init__()
        self.hide = hide
        self.table = nn.Embedding(types + 1, width)
        nn.init.normal_(self.table.weight, std=0.02)

    def forward(self, codes: Tensor) -> Tensor:
        """In training a share `hide` of the types is replaced by the unknown one."""
        if self.training and self.hide:
            codes = codes.masked_fill(torch.rand(codes.shape, device=codes.device) < self.hide, 0)
        return self.table(codes)


def with_sensor(raw: Any, recorded: Mapping[str, Any], sensors: Sequence[str]) -> Any:
    """A raw contact with the type of sensor that its data set is recorded with, unless it has its own."""
    name = recorded.get("sensor")
    if not sensors or name is None:
        return raw
    parts = raw if isinstance(raw, Mapping) else {"frames" if isinstance(raw, (list, tuple)) else "value": raw}
    return {"sensor": name, **parts}


def check_sensor(recorded: Mapping[str, Any], where: str, sensors: Sequence[str], *, learn: bool) -> list[str]:
    """Raise `SignalError` for data of an unknown type of sensor that is to be learned, or return what to know of it."""
    name = recorded.get("sensor")
    if not sensors or name == UNKNOWN or name in sensors or "sensor" in recorded.get("parts", ()):
        return []
    known = ", ".join(sensors)
    if name is None:
        return [f"note: {where}: does not record its sensor: samples that do not say theirs are none of {known}."]
    if not learn:
        return [f"note: {where}: records sensor {name!r}, which the encoder never saw: it is read as unknown."]
    raise SignalError(
        f"{where}: is of sensor {name!r}, and the encoder knows {known}.{did_you_mean(name, sensors)} Add it to "
        f"options.sensors, or rename it with `sensor` of its entry in shards ({UNKNOWN!r} for none of them)."
    )
