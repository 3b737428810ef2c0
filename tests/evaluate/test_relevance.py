"""Which target is right: by rows it says what a whole matrix would, and no matrix of N x N is ever made."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from conftest import TinyVector
from pairalign.align.latents import Latents
from pairalign.align.model import PairAligner
from pairalign.core.config import LatentConfig
from pairalign.data.graph import PairGraph
from pairalign.evaluate import relevance
from pairalign.evaluate.geometry import cka
from pairalign.evaluate.measure import _control_chance, measure_pair
from pairalign.evaluate.pool import EvalPool
from pairalign.evaluate.protocols.tvl import both_ways
from pairalign.evaluate.relevance import Near, SharesAny, count_right
from pairalign.evaluate.retrieval import bidirectional

EDGE = ("a", "b")


class Largest(TorchDispatchMode):
    """Remembers the elements of the largest tensor that any operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        found = [leaf.numel() for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        self.numel = max([self.numel, *found])
        return out


def made_pool(n: int) -> EvalPool:
    """Pairs that resemble each other; ten samples have one caption, every fourth one picture; groups of eight."""
    generator = torch.Generator().manual_seed(n)
    common = torch.randn(n, 6, generator=generator)
    latents = {m: Latents(common + torch.randn(n, 6, generator=generator), torch.zeros(n, 2)) for m in EDGE}
    ids = {"a": torch.arange(n) % (n // 4), "b": torch.arange(n) // 10}
    factors = {"sign": (common[:, 0] > 0).tolist(), "size": (torch.arange(n) % 7).tolist()}
    groups = [i // 8 for i in range(n)]
    return EvalPool("pool", list(map(str, range(n))), latents, ids, factors, groups, groups, [], [], True)


def made_aligner() -> PairAligner:
    torch.manual_seed(0)
    return PairAligner({m: TinyVector() for m in EDGE}, PairGraph(EDGE, (EDGE,)), LatentConfig(6, 2, 8))


def dense(codes: Tensor) -> Tensor:
    return codes[:, None] == codes


def test_nothing_of_n_by_n_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    n, chunk = 2000, 256
    monkeypatch.setattr(relevance, "BLOCK", chunk * n)
    pool, aligner = made_pool(n), made_aligner()
    x, y = (pool.latents[m].shared for m in EDGE)
    with Largest() as largest:
        measure_pair(aligner, pool, EDGE, EDGE, visible={"a": ["sign"], "b": ["sign"]}, same_group=True)
        both_ways(x, y, Near(x, 0.9), EDGE, None, 0)
        cka(x, y)
    assert chunk * n <= largest.numel < n * n


def test_a_pair_is_measured_as_by_the_whole_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, aligner = made_pool(80), made_aligner()
    monkeypatch.setattr(relevance, "BLOCK", 500)
    found = measure_pair(aligner, pool, EDGE, EDGE)["retrieval"]
    monkeypatch.undo()
    whole = dense(pool.ids["a"]) | dense(pool.ids["b"])
    gate = aligner.path_gate(*EDGE).detach()
    sides = [torch.nn.functional.normalize(pool.latents[m].shared * gate, dim=1) for m in EDGE]
    expected = bidirectional(*sides, relevant=whole, groups=(pool.groups, pool.groups), seed=0)
    assert found == expected
    assert torch.equal(found.forward.ranks, expected.forward.ranks)
    assert torch.equal(found.backward.ranks, expected.backward.ranks)


@pytest.mark.parametrize("seen", [[], ["size"]])
def test_the_chance_of_a_control_is_that_of_the_whole_matrix(seen: list[str]) -> None:
    pool = made_pool(120)
    groups = dense(torch.tensor(pool.factors["size"] if seen else [0] * 120))
    agree = groups & dense(torch.tensor(pool.factors["sign"]))
    expected = (agree.sum(1) / groups.sum(1)).mean()
    assert _control_chance(pool, seen, "sign") == pytest.approx(float(expected), abs=1e-7)


def test_rows_and_counts_are_those_of_the_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    q, t = torch.tensor([0, 1, 1, 2]), torch.tensor([1, 2, 0, 0, 5])
    r, u = torch.tensor([7, 8, 9, 9]), torch.tensor([9, 9, 9, 7, 8])
    shares = SharesAny([q, r], [t, u])
    matrix = (q[:, None] == t) | (r[:, None] == u)
    features = torch.randn(9, 3, generator=torch.Generator().manual_seed(1))
    unit = torch.nn.functional.normalize(features.double(), dim=1)
    monkeypatch.setattr(relevance, "BLOCK", 10)
    for rows, whole in ((shares, matrix), (shares.T, matrix.T), (Near(features, 0.2), unit @ unit.T > 0.2)):
        assert rows.shape == tuple(whole.shape)
        assert torch.equal(rows[1:3], whole[1:3])
        assert torch.equal(count_right(rows), whole.sum(1))
