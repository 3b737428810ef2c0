"""A plugin: an MLP over six numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pairalign import Encoder, Features, Signal, register_encoder


@register_encoder("plain_vector")
class PlainVector(Encoder):
    """As a user writes one."""

    signal = Signal("vector", (6,), unit="N")

    def __init__(self, width: int = 16) -> None:
        super().__init__(width)
        self.net = nn.Sequential(nn.Linear(6, 32), nn.GELU(), nn.Linear(32, width))

    def augment(self, value: Tensor, generator: torch.Generator) -> Tensor:
        return value + 0.01 * torch.randn(value.shape, generator=generator)

    def forward(self, batch: Tensor) -> Features:
        pooled = self.net(batch)
        return Features(pooled[:, None], pooled)
