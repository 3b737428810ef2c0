"""Weights taken back towards the base after training: W0 + α (W1 − W0).

A straight line between what was and what was learned is often flat in what was learned and steep in what is forgotten.
α = 1 changes no bit, and α = 0 is the base, bit for bit. Source: WiSE-FT, arXiv:2109.01903, for whole models.

Note:
    Of a direction B Aᵀ it is B that is scaled; and between the ends values are rounded once, from float32. Of weights
    that lie in parts at several processes each pulls its own, and all of them have to do it together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from pairalign.dormant.directions import Direction
from pairalign.dormant.layer import dormant_linears
from pairalign.masters import exact, write
from pairalign.sharding import part_of

End = tuple[Tensor, Tensor]
"""What a tensor is, and what it was before training."""


@torch.no_grad()
def pull_back(ends: Iterable[End], share: float) -> None:
    """Leave every tensor at this share of the way from what it was to what it is, in place."""
    if share == 1:
        return
    for now, start in ends:
        before = start.to(now.device, torch.float32)
        write(now, before + share * (exact(now).float() - before))


def update_ends(model: nn.Module, sensor: str) -> Iterator[End]:
    """The values of a sensor's updates, and the base's where they belong."""
    for _, layer in dormant_linears(model):
        if sensor not in layer.updates:
            continue
        update: Any = layer.updates[sensor]
        values: Tensor = update.values
        direction = isinstance(update, Direction)
        start = torch.zeros_like(values) if direction else part_of(update.take(layer.base_weight()), values)
        yield values, start
