"""Synthetic worlds with known latent blocks, mixed by random invertible networks into several modalities.

Source: the generative model behind block identifiability (von Kügelgen et al. 2021, arXiv:2106.04619;
Daunhawer et al. 2023, arXiv:2303.09166; for modality pairs arXiv:2605.21059): independent standard normal
blocks, each seen by some modalities, and one invertible mixing per modality.

Note:
    Every edge draws samples of its own. A block that both ends see is equal on both sides; everything else, also a
    block that is shared on another edge, is drawn twice, so that no sample ever joins three modalities.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pairalign.core.errors import ConfigError
from pairalign.data.graph import Edge, PairGraph


@dataclass(frozen=True)
class Block:
    """`size` independent N(0, 1) latents that the modalities in `seen_by`, and no others, observe."""

    seen_by: tuple[str, ...]
    size: int = 2

    @property
    def name(self) -> str:
        """Who sees it: `a+b`."""
        return "+".join(self.seen_by)

    @property
    def private(self) -> bool:
        """True if one modality alone sees it."""
        return len(self.seen_by) == 1


class Mixing:
    """A random injective map (N, latent) → (N, observed): leaky-ReLU layers with orthonormal weights.

    Orthonormal square weights keep the condition number at that of the activations, `slope`^-layers at worst;
    the last layer has orthonormal columns where `observed` > `latent`. The output has mean 0 and a common
    spread of 1.
    """

    def __init__(
        self, latent: int, observed: int, generator: torch.Generator, layers: int = 3, slope: float = 0.3
    ) -> None:
        if observed < latent:
            raise ConfigError(f"observed={observed} is below latent={latent}: no map can then be injective.")
        if not 0 < slope <= 1 or layers < 1:
            raise ConfigError(f"slope={slope}, layers={layers}: give 0 < slope <= 1 and at least one layer.")
        sizes = [latent] * layers + [observed]
        self.slope = slope
        self.weights = [_orthonormal(o, i, generator) for i, o in pairwise(sizes)]
        self.mean, self.spread = torch.zeros(observed), torch.ones(())
        raw = self(torch.randn(20_000, latent, generator=generator))
        self.mean, self.spread = raw.mean(0), raw.std()

    def __call__(self, latents: Tensor) -> Tensor:
        """Latents (N, latent) → observations (N, observed)."""
        x = latents
        for i, weight in enumerate(self.weights):
            x = (F.leaky_relu(x, self.slope) if i else x) @ weight.T
        return (x - self.mean) / self.spread

    def inverse(self, observations: Tensor) -> Tensor:
        """Observations (N, observed) in the range of the map → their latents (N, latent)."""
        x = observations * self.spread + self.mean
        for i, weight in reversed(list(enumerate(self.weights))):
            x = x @ weight
            x = torch.where(x < 0, x / self.slope, x) if i else x
        return x


@dataclass(frozen=True)
class Sample:
    """`blocks`: name → (N, size), the truth; `observed`: modality → (N, D), what an encoder is given."""

    blocks: dict[str, Tensor]
    observed: dict[str, Tensor]


@dataclass(frozen=True)
class World:
    """A pair graph, its blocks, and one mixing per modality, drawn from `seed`.

    extra: observed dimensions beyond a modality's latents, by modality; 0 where not named.
    """

    graph: PairGraph
    blocks: tuple[Block, ...]
    seed: int = 0
    extra: Mapping[str, int] = field(default_factory=dict)
    mixings: dict[str, Mixing] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._check()
        generator = torch.Generator().manual_seed(self.seed)
        mixings = {}
        for modality in self.graph.modalities:
            latent = sum(block.size for block in self.blocks_of(modality))
            mixings[modality] = Mixing(latent, latent + self.extra.get(modality, 0), generator)
        object.__setattr__(self, "mixings", mixings)

    def blocks_of(self, modality: str) -> list[Block]:
        """The blocks that a modality sees, in the order in which its mixing takes them."""
        return [block for block in self.blocks if modality in block.seen_by]

    def shared_on(self, edge: Edge) -> list[Block]:
        """The blocks that both ends of an edge see."""
        return [block for block in self.blocks_of(edge[0]) if edge[1] in block.seen_by]

    def paired(self, modality: str) -> list[Block]:
        """The blocks of a modality that some edge of it can align; the rest is private to training."""
        edges = [edge for edge in self.graph.edges if modality in edge]
        return [b for b in self.blocks_of(modality) if any(b in self.shared_on(edge) for edge in edges)]

    def describe(self) -> dict[str, Any]:
        """What makes the world, as plain values: equal for equal worlds."""
        blocks = {block.name: block.size for block in self.blocks}
        return {
            "edges": [list(edge) for edge in self.graph.edges],
            "blocks": blocks,
            "seed": self.seed,
            "extra": dict(self.extra),
        }

    def joint(self, n: int, generator: torch.Generator) -> Sample:
        """n samples seen by every modality at once: for measuring only, training has none of these."""
        blocks = self._draw(self.blocks, n, generator)
        return Sample(blocks, {m: self._observe(m, blocks) for m in self.graph.modalities})

    def pairs(self, edge: Edge, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """n training pairs of an edge: (n, D_a) and (n, D_b)."""
        shared = self._draw(self.shared_on(edge), n, generator)
        sides = []
        for modality in edge:
            own = [block for block in self.blocks_of(modality) if block.name not in shared]
            sides.append(self._observe(modality, shared | self._draw(own, n, generator)))
        return sides[0], sides[1]

    def _observe(self, modality: str, blocks: Mapping[str, Tensor]) -> Tensor:
        return self.mixings[modality](torch.cat([blocks[b.name] for b in self.blocks_of(modality)], dim=1))

    def _draw(self, blocks: Iterable[Block], n: int, generator: torch.Generator) -> dict[str, Tensor]:
        return {block.name: torch.randn(n, block.size, generator=generator) for block in blocks}

    def _check(self) -> None:
        names = [block.name for block in self.blocks]
        for block in self.blocks:
            unknown = set(block.seen_by) - set(self.graph.modalities)
            if unknown or not block.seen_by or block.size < 1 or names.count(block.name) > 1:
                raise ConfigError(
                    f"block {block.name!r} of size {block.size}: give it once, with size >= 1 and known"
                    f" modalities ({', '.join(self.graph.modalities)})."
                )
        for modality in self.graph.modalities:
            if not self.blocks_of(modality):
                raise ConfigError(f"modality {modality!r} sees no block: give it at least one.")


def chain_world(seed: int = 0, size: int = 2) -> World:
    """Four modalities a–b–c–d, trained on three edges: one block that all see, one per edge, one private
    each.

    c is observed in four dimensions more than it has latents.
    """
    modalities = ("a", "b", "c", "d")
    edges = (("a", "b"), ("b", "c"), ("c", "d"))
    seen = (modalities, *edges, *((m,) for m in modalities))
    return World(PairGraph(modalities, edges), tuple(Block(s, size) for s in seen), seed, {"c": 4})


def _orthonormal(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """(rows, columns) with orthonormal columns; rows >= columns."""
    return torch.linalg.qr(torch.randn(rows, columns, generator=generator))[0]
