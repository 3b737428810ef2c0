"""Peak memory of a training step of stage one over seven edges, over that of one edge: `python bench/edges_memory.py`.

Counted, not sampled: bytes that autograd holds for the way back (`saved_tensors_hooks`, each storage once) plus bytes
of gradients found so far, at every saving; weights, the optimizer and temporaries of single operations are left out.
Both ways in one run: "joint", one backward pass over the sum of all losses, and "by edges", `pairalign.align.backward`.
Two graphs, all terms of the loss as they are by default: a chain of vision transformers, in which most modalities have
two edges with samples of their own, and a star around a frozen anchor. Exits 1 where one by edges is over 1.7.
"""

from __future__ import annotations

import argparse
import sys
import weakref
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pairalign.align.backward import EdgeByEdge
from pairalign.align.model import PairAligner, Side
from pairalign.core.config import LatentConfig, LossConfig
from pairalign.core.registry import create_encoder
from pairalign.data.graph import Edge, PairGraph

TARGET = 1.7
VIT = {"preset": "mini", "size": 32, "patch": 8}


class Peak:
    """Bytes held for the backward pass and in gradients."""

    def __init__(self, gradients: Callable[[], int]) -> None:
        self.gradients, self.held, self.most = gradients, 0, 0
        self.counts: dict[int, int] = {}

    def pack(self, tensor: Tensor) -> Held:
        """Count a storage that is not held yet."""
        held = Held(tensor)
        place, size = held.place, tensor.untyped_storage().nbytes()
        self.counts[place] = self.counts.get(place, 0) + 1
        if self.counts[place] == 1:
            self.held += size
        weakref.finalize(held, self.free, place, size)
        self.most = max(self.most, self.held + self.gradients())
        return held

    def free(self, place: int, size: int) -> None:
        """Forget a storage once nobody holds it."""
        self.counts[place] -= 1
        if not self.counts[place]:
            self.held -= size


class Held:
    """A saved tensor."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor, self.place = tensor, tensor.untyped_storage().data_ptr()


def build(edges: Sequence[Edge]) -> PairAligner:
    """Encoders of one size over the modalities of some edges; "anchor" is frozen."""
    torch.manual_seed(0)
    graph = PairGraph(tuple(dict.fromkeys(end for edge in edges for end in edge)), tuple(edges))
    encoders = {end: create_encoder("touch_vit", **VIT) for end in graph.modalities}
    if "anchor" in encoders:
        encoders["anchor"].tune("none")
    return PairAligner(encoders, graph, LatentConfig(), LossConfig()).train()


def sides(edge: Edge, batch: int, seed: int) -> dict[str, Side]:
    """Random contacts."""
    draw = torch.Generator().manual_seed(seed)
    ids = torch.arange(batch)
    return {end: Side(torch.rand(batch, 1, 4, 32, 32, generator=draw), ids) for end in edge}


def step(edges: Sequence[Edge], batch: int, by_edges: bool) -> int:
    """Peak bytes of one step."""
    aligner = build(edges)
    weights = {p.untyped_storage().data_ptr() for p in aligner.parameters()}
    work = EdgeByEdge(aligner)

    def gradients() -> int:
        found = [p.grad for p in aligner.parameters() if p.grad is not None]
        return sum(g.numel() * g.element_size() for g in (*found, *work.found.values()))

    peak = Peak(gradients)

    def pack(tensor: Tensor) -> object:
        return tensor if tensor.untyped_storage().data_ptr() in weights else peak.pack(tensor)

    def unpack(held: object) -> Tensor:
        return held.tensor if isinstance(held, Held) else held  # type: ignore[return-value]

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        losses = []
        for seed, edge in enumerate(edges):
            data = sides(edge, batch, seed)
            if by_edges:
                for one, pooled, two in work.encoded((edge,), data):
                    work.add(aligner.total(aligner.pair_terms(one, two[one[0]], two[one[1]], pooled)))
            else:
                losses.append(aligner.total(aligner.edge_terms(edge, *data.values())))
        total = work.total() if by_edges else torch.stack(losses).sum()
        most = max(peak.most, peak.held + gradients())
        del losses
        total.backward()
    return max(most, peak.most, gradients())


def main() -> int:
    """Print both graphs both ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=64)
    batch = parser.parse_args().batch
    print(f"touch_vit {VIT}, batch {batch}, float32, torch {torch.__version__}, CPU, counted by saved_tensors_hooks")
    names = [f"m{n}" for n in range(8)]
    graphs = {
        "chain": [(names[n], names[n + 1]) for n in range(7)],
        "star, frozen anchor": [("anchor", names[n]) for n in range(7)],
    }
    worst = 0.0
    for name, edges in graphs.items():
        for way, by_edges in (("joint", False), ("by edges", True)):
            one, seven = step(edges[:1], batch, by_edges), step(edges, batch, by_edges)
            ratio = seven / one
            print(f"{name}, {way}: 1 edge {one / 2**20:.1f} MiB, 7 edges {seven / 2**20:.1f} MiB, ratio {ratio:.2f}")
            worst = max(worst, ratio) if by_edges else worst
    print(f"largest by edges {worst:.2f}, wanted at most {TARGET}")
    return int(worst > TARGET)


if __name__ == "__main__":
    sys.exit(main())
