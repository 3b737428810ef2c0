"""Shared and private latents, and the head that makes them from an encoder's pooled features.

`shared` is what some pair could align; `private` is what only this sensor sees (a touch's hardness) and what only
reconstruction keeps alive.

Note:
    The two come from one linear map, so that nothing but the losses decides what goes where.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Latents(NamedTuple):
    """`shared` (B, d_s) and `private` (B, d_p), not normalised."""

    shared: Tensor
    private: Tensor


class LatentHead(nn.Module):
    """Pooled features (B, D) → `Latents`. `hidden` = 0 is one linear layer, as suits a frozen tower with few captions.

    standardise: each shared dimension has mean 0 and variance 1 over the batch (over training, in evaluation), so that
    two modalities that never meet in training still have no gap between their centres, and that an unneeded dimension
    can only be switched off by its gate.
    """

    def __init__(self, width: int, shared: int, private: int, hidden: int, standardise: bool = False) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(shared, affine=False) if standardise else nn.Identity()
        self.sizes = [shared, private]
        if hidden:
            layers = [nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, shared + private)]
        else:
            layers = [nn.Linear(width, shared + private)]
        self.map = nn.Sequential(*layers)

    def forward(self, pooled: Tensor) -> Latents:
        """(B, D) → shared (B, d_s), private (B, d_p)."""
        shared, private = self.map(pooled).split(self.sizes, dim=-1)
        return Latents(self.norm(shared), private)


class AnchorHead(nn.Module):
    """A frozen tower's own space as the shared one: unit features, centred, in their first d_s principal directions.

    Nothing here is trained, so that what the tower knows of samples that were never paired stays as it is: names of
    classes that training left out still land where they belong. `private` is zero. Call `fit` before use.
    """

    mean: Tensor
    basis: Tensor

    def __init__(self, width: int, shared: int, private: int) -> None:
        super().__init__()
        self.private = private
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("basis", torch.zeros(width, shared))

    @torch.no_grad()
    def fit(self, features: Tensor) -> None:
        """Set mean and directions from the tower's features (N, D) of the training samples.

        On the CPU wherever the head is: a direction's sign is the solver's to choose, and every device has another.
        """
        unit = F.normalize(features.to("cpu", self.mean.dtype), dim=1)
        mean = unit.mean(0)
        self.mean.copy_(mean)
        _, _, directions = torch.linalg.svd(unit - mean, full_matrices=False)
        kept = min(len(directions), self.basis.shape[1])
        self.basis.zero_()
        self.basis[:, :kept] = directions[:kept].T

    def forward(self, pooled: Tensor) -> Latents:
        """(B, D) → shared (B, d_s), private (B, d_p) of zeros."""
        shared = (F.normalize(pooled, dim=-1) - self.mean) @ self.basis
        return Latents(shared, shared.new_zeros(len(shared), self.private))
