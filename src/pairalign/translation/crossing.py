"""From one modality's latents to another's: only the shared dimensions that the gates on the path keep open cross.

    shared_t = w ⊙ (mean_t + (shared_s - mean_s) std_t / std_s) + (1 - w) ⊙ rest,   private_t = rest

w is the product of the gates on the path, over its largest: 1 crosses wholly, 0 not at all. The rest, the target's
whole private part with it, is what no pair could tell: the mean over the target's true samples, or that of the nearest
ones.

Note:
    An aligned pair agrees in direction and not in scale, which is why each dimension is brought from the source's mean
    and spread to the target's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pairalign.align.latents import Latents
from pairalign.align.partial import gated_cosine
from pairalign.core.errors import DataError

Rest = Literal["mean", "nearest"]
RESTS = ("mean", "nearest")
NEAREST = 5


@dataclass(frozen=True)
class Crossing:
    """The way from latents of a source to those of a target, told by true samples of both.

    gate: (d_s,) of the path between them. source: shared latents of true samples (N, d_s). target: latents of true
    samples of the target (M, …). rest: "mean", or "nearest" for the mean of the `NEAREST` nearest to each.
    """

    gate: Tensor
    source: Tensor
    target: Latents
    rest: Rest = "mean"

    def __post_init__(self) -> None:
        for name, count in (("source", len(self.source)), ("target", len(self.target.shared))):
            if count < 2:
                raise DataError(f"{name}: {count} true samples, whose spread cannot be known: give at least two.")

    @property
    def kept(self) -> list[int]:
        """The dimensions of which anything crosses."""
        return (self.gate > 0).nonzero().flatten().tolist()

    def __call__(self, shared: Tensor) -> Latents:
        """Latents of the target (B, …) from shared latents of the source (B, d_s)."""
        rest = self._rest(shared)
        open_ = (self.gate / self.gate.amax()).clamp(min=0)
        scale = self.target.shared.std(0) / self.source.std(0).clamp(min=1e-6)
        crossed = self.target.shared.mean(0) + (shared - self.source.mean(0)) * scale
        return Latents(open_ * crossed + (1 - open_) * rest.shared, rest.private)

    def nearest(self, shared: Tensor, count: int = 1) -> tuple[Tensor, Tensor]:
        """The cosine and the row (B, count) of the target's true samples that are nearest, best first."""
        one, other = (gated_cosine(self.gate, z, z)[0] for z in (shared, self.target.shared))
        found = (one @ other.T).topk(min(count, len(other)), dim=1)
        return found.values, found.indices

    def _rest(self, shared: Tensor) -> Latents:
        if self.rest == "mean":
            return Latents(*(z.mean(0).expand(len(shared), -1) for z in self.target))
        _, rows = self.nearest(shared, NEAREST)
        return Latents(*(z[rows].mean(1) for z in self.target))


def path_crossing(gate: Tensor, source: Tensor, target: Latents, rest: Rest) -> Crossing:
    """A `Crossing` on the CPU; raise `DataError` where the gates let nothing through."""
    gate = gate.detach().cpu()
    if not bool((gate > 0).any()):
        raise DataError("the gates along the path have no dimension in common: nothing crosses it.")
    return Crossing(gate, source.cpu(), Latents(*(z.cpu() for z in target)), rest)


def joined(parts: list[Latents]) -> Latents:
    """Batches of latents as one."""
    return Latents(*(torch.cat(z) for z in zip(*parts, strict=True)))
