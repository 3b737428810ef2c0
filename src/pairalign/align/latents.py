"""Shared and private latents, and the head that makes them from an encoder's pooled features.

`shared` is what some pair could align; `private` is what only this sensor sees (a touch's hardness) and what only
reconstruction keeps alive. Where it bites: the two come from one linear map, so that nothing but the losses decides
what goes where.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn


class Latents(NamedTuple):
    """`shared` (B, d_s) and `private` (B, d_p), not normalised."""

    shared: Tensor
    private: Tensor


class LatentHead(nn.Module):
    """Pooled features (B, D) → `Latents`. `hidden` = 0 is one linear layer, as suits a frozen tower with few captions."""

    def __init__(self, width: int, shared: int, private: int, hidden: int) -> None:
        super().__init__()
        self.sizes = [shared, private]
        if hidden:
            layers = [nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, shared + private)]
        else:
            layers = [nn.Linear(width, shared + private)]
        self.map = nn.Sequential(*layers)

    def forward(self, pooled: Tensor) -> Latents:
        """(B, D) → shared (B, d_s), private (B, d_p)."""
        return Latents(*self.map(pooled).split(self.sizes, dim=-1))
