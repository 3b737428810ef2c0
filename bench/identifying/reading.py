"""Read every true block from every learned part: held-out R², linear and by kernel ridge.

Source: block identifiability is measured so by von Kügelgen et al. 2021 (arXiv:2106.04619) and Yao et al.
2024 (arXiv:2311.04056).

Note:
    R² has no unit. A dimension at a thousandth of the noise reads, once standardised, as well as one far above it. A
    part therefore counts only dimensions whose gate is at least 0.5 and whose spread is at least that of the training
    noise; the part "faint" drops both conditions, to show what is left in what they exclude.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from identifying.worlds import Block, Sample, World
from pairalign.align.minimal import active_dims
from pairalign.align.model import PairAligner
from pairalign.data.graph import edge_name
from pairalign.evaluate.probe import r2_kernel, r2_linear

OPEN = 0.5
"""The gate from which on a dimension counts as used, as in `EdgeGates.active`."""

Kind = Literal["shared", "foreign", "private"]


@dataclass(frozen=True)
class Part:
    """What of a modality is read: `values` (N, dims); `edge` where it is the part of one edge."""

    modality: str
    name: str
    values: Tensor
    edge: tuple[str, str] | None = None


@dataclass(frozen=True)
class Cell:
    """Held-out R² of one true block from one learned part, averaged over the block's latents.

    part: "shared" (dimensions that any edge of the modality uses), an edge's name (those that this edge
        uses), "private", or "faint" (all shared dimensions behind a gate above 0).
    kind: of the block: "shared" where an edge can align it, "private" where none can; on an edge's part,
        "foreign" where another edge can, but not this one.
    dims: how many dimensions the part has; 0 dimensions read an R² of 0.
    """

    modality: str
    part: str
    block: str
    kind: Kind
    dims: int
    linear: float
    kernel: float


def read_parts(aligner: PairAligner, world: World, samples: int, seed: int) -> list[Cell]:
    """Every block that a modality sees, read from each of its learned parts, on `samples` joint samples."""
    sample = world.joint(samples, torch.Generator().manual_seed(seed))
    cells = []
    for modality in world.graph.modalities:
        for part in parts_of(aligner, modality, sample):
            for block in world.blocks_of(modality):
                kind = _kind(world, block, part)
                if part.name == "faint" and kind != "private":
                    continue  # it is there to look for what should be nowhere
                linear, kernel = _r2(part.values, sample.blocks[block.name])
                dims = part.values.shape[1]
                cells.append(Cell(modality, part.name, block.name, kind, dims, linear, kernel))
    return cells


@torch.no_grad()
def parts_of(aligner: PairAligner, modality: str, sample: Sample) -> list[Part]:
    """The parts of one modality's latents, each reduced to the dimensions in use."""
    latents = aligner.encode(modality, sample.observed[modality])
    noise, union = aligner.loss.noise, aligner.gates.union(modality)
    parts = [
        Part(modality, "shared", _used(latents.shared, union, noise)),
        Part(modality, "private", _used(latents.private, None, noise)),
        Part(modality, "faint", (latents.shared * union)[:, union > 0]),
    ]
    edges = [edge for edge in aligner.graph.edges if modality in edge]
    parts += [Part(modality, edge_name(e), _used(latents.shared, aligner.gates(e), noise), e) for e in edges]
    return parts


def _used(latent: Tensor, gate: Tensor | None, noise: float) -> Tensor:
    if gate is not None:
        latent = (latent * gate)[:, gate >= OPEN]
    if not latent.shape[1]:
        return latent
    return latent[:, active_dims(latent, max(noise, 1e-6))]


def _kind(world: World, block: Block, part: Part) -> Kind:
    if block not in world.paired(part.modality):
        return "private"
    return "shared" if part.edge is None or block in world.shared_on(part.edge) else "foreign"


def _r2(x: Tensor, y: Tensor) -> tuple[float, float]:
    if not x.shape[1]:
        return 0.0, 0.0
    return r2_linear(x, y, samples=2).value, r2_kernel(x, y, samples=2).value
