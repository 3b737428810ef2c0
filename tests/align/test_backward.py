"""One backward pass an edge gives the gradient of the joint one, in less memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from conftest import TinyVector
from pairalign.align.backward import EdgeByEdge
from pairalign.align.model import PairAligner, Side
from pairalign.core.config import LatentConfig, LossConfig
from pairalign.data.graph import PairGraph

EDGES = (("a", "b"), ("b", "c"), ("a", "c"))


def make(**loss: Any) -> PairAligner:
    torch.manual_seed(0)
    encoders = {end: TinyVector() for end in "abc"}
    if loss.pop("frozen", False):
        encoders["b"].tune("none")
    aligner = PairAligner(encoders, PairGraph(("a", "b", "c"), EDGES), LatentConfig(8, 4, 32), LossConfig(**loss))
    return aligner.train()


def sides(seed: int = 0, ends: str = "abc") -> dict[str, Side]:
    draw = torch.Generator().manual_seed(seed)
    ids = torch.tensor([0, 1, 2, 3, 4, 5, 6, 0])
    return {end: Side(torch.randn(8, 6, generator=draw), ids) for end in ends}


WEIGHTS = {("a", "b"): 1.0, ("b", "c"): 0.3, ("a", "c"): 2.0}


def joint(aligner: PairAligner, groups: list[tuple[tuple[tuple[str, str], ...], dict[str, Side]]]) -> Tensor:
    torch.manual_seed(3)
    found = []
    for edges, samples in groups:
        pooled = {end: aligner.pooled(end, samples[end]) for end in dict.fromkeys(e for edge in edges for e in edge)}
        for edge in edges:
            terms = aligner.pair_terms(edge, samples[edge[0]], samples[edge[1]], pooled)
            found.append(WEIGHTS[edge] * aligner.total(terms))
    return torch.stack(found).sum()


def by_edges(
    aligner: PairAligner, groups: list[tuple[tuple[tuple[str, str], ...], dict[str, Side]]], scale: float = 1.0
) -> Tensor:
    torch.manual_seed(3)
    work = EdgeByEdge(aligner, scale)
    for edges, samples in groups:
        for edge, pooled, two in work.encoded(edges, samples):
            terms = aligner.pair_terms(edge, two[edge[0]], two[edge[1]], pooled)
            work.add(WEIGHTS[edge] * aligner.total(terms))
    return work.total()


ONE = [(EDGES, sides())]  # three edges over one folder
EACH = [((edge,), sides(n)) for n, edge in enumerate(EDGES)]  # each over its own


@pytest.mark.parametrize("groups", [ONE, EACH], ids=["one folder", "a folder each"])
@pytest.mark.parametrize(
    "loss",
    [{}, {"contrastive": "sigmoid"}, {"similarity": "euclidean"}, {"detach": True}, {"frozen": True, "relation": 1.0},
     {"reconstruct": 0.0, "minimal": 0.0, "gate": 0.0, "gates": False}],
    ids=["default", "sigmoid", "euclidean", "detach", "frozen", "contrast alone"],
)  # fmt: skip
@pytest.mark.parametrize("scale", [1.0, 2.0**16])
def test_gradients_are_those_of_the_joint_backward_pass(groups: Any, loss: dict[str, Any], scale: float) -> None:
    one, other = make(**loss), make(**loss)
    expected, found = joint(one, groups), by_edges(other, groups, scale)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    for total in (expected, found):
        (total / 4).backward()  # as with four batches a step
    for (name, mine), theirs in zip(other.named_parameters(), one.parameters(), strict=True):
        assert (mine.grad is None) == (theirs.grad is None), name
        if mine.grad is not None:
            assert theirs.grad is not None
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-6, atol=1e-6, msg=name)


def test_several_batches_add_up() -> None:
    one, other = make(), make()
    for seed in range(3):
        joint(one, [(EDGES, sides(seed))]).backward()
        by_edges(other, [(EDGES, sides(seed))]).backward()
    for mine, theirs in zip(other.parameters(), one.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-5, atol=1e-6)


def test_under_autocast_too() -> None:
    one, other = make(), make()
    with torch.autocast("cpu", torch.bfloat16):
        totals = joint(one, ONE), by_edges(other, ONE)
    for total in totals:
        total.backward()
    for mine, theirs in zip(other.parameters(), one.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=0.05, atol=2e-3)


def test_an_encoder_runs_once_for_all_edges_over_the_same_samples() -> None:
    aligner, seen = make(), []
    for encoder in aligner.encoders.values():
        encoder.register_forward_hook(lambda *of: seen.append(of[0]))
    by_edges(aligner, ONE).backward()
    assert len(seen) == 3


def test_activations_of_one_edge_at_a_time_are_held() -> None:
    """Bytes that autograd keeps for the way back: seven edges of their own hold what one holds."""
    ends = "abcdefgh"
    edges = tuple(("a", end) for end in ends[1:])

    def peak(chosen: tuple[tuple[str, str], ...]) -> int:
        graph = PairGraph(tuple(dict.fromkeys(e for edge in chosen for e in edge)), chosen)
        encoders = {end: Wide() for end in graph.modalities}
        aligner = PairAligner(encoders, graph, LatentConfig(8, 4, 32), LossConfig()).train()
        held = most = 0

        class Kept:
            def __init__(self, tensor: Tensor) -> None:
                nonlocal held, most
                self.tensor, self.bytes = tensor, tensor.numel() * tensor.element_size()
                held += self.bytes
                most = max(most, held)

            def __del__(self) -> None:
                nonlocal held
                held -= self.bytes

        with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
            work = EdgeByEdge(aligner)
            for n, edge in enumerate(chosen):
                for one, pooled, two in work.encoded((edge,), sides(n, "".join(edge))):
                    work.add(aligner.total(aligner.pair_terms(one, two[one[0]], two[one[1]], pooled)))
            work.total().backward()
        return most

    assert peak(edges) <= 1.05 * peak(edges[:1])


class Wide(TinyVector):
    """Many activations for few weights."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 512), nn.GELU(), nn.Linear(512, 16))
