"""Which factors a gate keeps: planted ones are found where they were planted, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pairalign.align.latents import Latents
from pairalign.align.partial import EdgeGates
from pairalign.data.graph import PairGraph
from pairalign.evaluate.kept import classify, each_dimension, kept_rows, measure_kept, rank_correlation
from pairalign.evaluate.kept_picture import draw_kept
from pairalign.evaluate.pool import EvalPool

COUNT = 300


class Gated:
    """Of an aligner, its graph and gates: dimensions 0 to 2 open, 3 to 5 shut."""

    def __init__(self, shut: float = -9.0) -> None:
        self.graph = PairGraph(("a", "b"), (("a", "b"),))
        self.gates = EdgeGates(self.graph.edges, 6)
        with torch.no_grad():
            self.gates.logits["a~b"][3:] = shut
            self.gates.logits["a~b"][0] = 2.0


def pool(groups: list[int] | None = None) -> EvalPool:
    """`both` is in dimension 1 of both sides, `mine` in dimension 4 of a."""
    generator = torch.Generator().manual_seed(0)
    both, mine = (torch.randint(3, (COUNT,), generator=generator) for _ in range(2))
    a, b = (torch.randn(COUNT, 6, generator=generator) for _ in range(2))
    a[:, 1] += 4 * both
    b[:, 1] -= 4 * both
    a[:, 4] += 4 * mine
    latents = {name: Latents(z, torch.zeros(COUNT, 0)) for name, z in (("a", a), ("b", b))}
    factors: dict[str, list[Any]] = {"both": both.tolist(), "mine": mine.tolist(), "same": ["x"] * COUNT}
    keys = [str(i) for i in range(COUNT)]
    return EvalPool("pool", keys, latents, {}, factors, None, groups, [], [], True)


def test_a_factor_is_found_in_the_dimensions_that_hold_it() -> None:
    aligner: Any = Gated()
    found = measure_kept(aligner, pool(), {"a": ["both", "mine"], "b": ["both"]})["a-b"]
    assert found["kept"] == 3
    a, b = found["sides"]["a"], found["sides"]["b"]
    assert set(a) == {"both", "mine"}  # what never varies cannot be told
    assert (a["both"]["seen"], a["mine"]["seen"]) == (True, False)
    for there, not_there in ((a["both"]["kept"], a["both"]["dropped"]), (a["mine"]["dropped"], a["mine"]["kept"])):
        assert there.low > 0.8
        assert not_there.high < 0.5
    assert b["mine"]["kept"].at_chance
    assert max(range(6), key=a["mine"]["each"].__getitem__) == 4
    assert max(range(6), key=b["both"]["each"].__getitem__) == 1
    assert a["both"]["kept"].n == COUNT // 2


def test_a_gate_that_keeps_everything_has_nothing_to_compare_with() -> None:
    aligner: Any = Gated(shut=2.0)
    record = measure_kept(aligner, pool())
    assert record["a-b"]["sides"]["a"]["both"]["dropped"] is None
    head, rows = kept_rows({"gates": record})
    assert rows[0][:5] == ["a-b", "6 of 6", "a", "both", ""]
    assert len(head) == len(rows[0])
    assert measure_kept(aligner, EvalPool("p", ["x"] * 30, {}, {}, {}, None, None, [], [], True)) == {}


def test_intervals_count_clusters() -> None:
    aligner: Any = Gated()
    found = measure_kept(aligner, pool([i // 30 for i in range(COUNT)]))["a-b"]["sides"]["a"]["both"]["kept"]
    assert (found.clusters, found.n) == (5, 150)
    assert found.low < 0.75


def test_one_dimension_alone_is_told_by_the_nearest_mean() -> None:
    z = torch.tensor([[0.0], [1.0], [10.0], [11.0], [2.0], [8.0], [4.0]])
    codes = torch.tensor([0, 0, 1, 1, 0, 1, 1])
    rows = (torch.arange(4), torch.arange(4, 7))
    assert each_dimension(z, codes, rows).tolist() == pytest.approx([2 / 3])
    assert classify(z, codes, rows).tolist() == [0, 1, 0]


def test_ranks_follow_whatever_rises_with_them() -> None:
    x = torch.tensor([3.0, 1.0, 2.0, 5.0])
    assert rank_correlation(x, x.exp()) == pytest.approx(1)
    assert rank_correlation(x, -x) == pytest.approx(-1)
    assert rank_correlation(torch.tensor([1.0, 1, 2, 3]), torch.tensor([1.0, 2, 3, 4])) == pytest.approx(
        0.9487, abs=1e-4
    )
    assert rank_correlation(x, torch.ones(4)) is None


def test_the_picture_has_a_row_for_every_side_and_factor_and_a_line_where_keeping_ends() -> None:
    aligner: Any = Gated()
    figure = draw_kept("a-b", measure_kept(aligner, pool(), {"a": ["both"], "b": ["both"]})["a-b"])
    (ax,) = figure.axes
    labels = [text.get_text() for text in ax.get_yticklabels()]
    assert labels == ["gate", "a: both ●", "a: mine ○", "b: both ●", "b: mine ○"]
    assert [line.get_xdata()[0] for line in ax.lines if line.get_xdata()[0] == line.get_xdata()[1]] == [2.5]
