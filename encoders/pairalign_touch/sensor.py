"""A learned token for the type of touch sensor, with a fallback for a type that training never saw.

Source: the sensor-type token of AnyTouch (arXiv:2502.12191). Where it bites: the fallback is only as good as its
training, so the type is hidden at random from a tenth of the training samples.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
