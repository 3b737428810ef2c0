"""Random significance: the control that says what choosing at all is worth.

Note:
    Drawn on the CPU and moved, so that a seed means the same weights on every device.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pairalign.dormant.quantised import shape_of
from pairalign.dormant.significance.scores import Linears, register_score


@register_score("random")
def random(model: nn.Module, linears: Linears, calibration: Any = None, *, seed: int = 0) -> Mapping[str, Tensor]:
    """Uniform scores that follow from the seed and the weight's name."""
    return _Random(linears, seed)


class _Random(Mapping[str, Tensor]):
    def __init__(self, linears: Linears, seed: int) -> None:
        self.linears, self.seed = linears, seed

    def __getitem__(self, name: str) -> Tensor:
        generator = torch.Generator().manual_seed(zlib.crc32(f"{self.seed}/{name}".encode()))
        weight = self.linears[name].weight
        return torch.rand(shape_of(weight), generator=generator).to(weight.device)

    def __iter__(self) -> Iterator[str]:
        return iter(self.linears)

    def __len__(self) -> int:
        return len(self.linears)
