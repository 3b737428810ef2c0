"""Retrieval against a slow oracle that walks every query, and against what must hold of any ranking."""

from __future__ import annotations

import math
import random
from itertools import permutations
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pairalign.core.errors import ConfigError, DataError
from pairalign.evaluate import relevance
from pairalign.evaluate.retrieval import agreement, bidirectional, nearest, retrieval


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


def slow_retrieval(q: Tensor, t: Tensor, right: list[list[bool]], allowed: list[list[bool]], k: int) -> tuple:
    """R@k, its chance and the median rank, by listing: no ties, so every rank is certain."""
    hits, chances, ranks = [], [], []
    for i, query in enumerate(q.tolist()):
        pool = [j for j in range(len(t)) if allowed[i][j]]
        good = [j for j in pool if right[i][j]]
        if not good:
            continue
        order = sorted(pool, key=lambda j: -cosine(query, t[j].tolist()))
        ranks.append(min(order.index(j) for j in good) + 1)
        hits.append(ranks[-1] <= k)
        bad = len(pool) - len(good)
        chances.append(1 - math.comb(bad, k) / math.comb(len(pool), k) if k <= len(pool) else 1.0)
    ordered = sorted(ranks)
    middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    return sum(hits) / len(hits), sum(chances) / len(chances), middle, len(hits)


def embeddings(seed: int, n: int, m: int, width: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    t = torch.randn(m, width, generator=generator)
    q = t[torch.arange(n) % m] + torch.randn(n, width, generator=generator)
    return q, t


@given(st.integers(0, 10_000), st.integers(2, 14), st.integers(2, 12), st.integers(1, 4), st.booleans())
@settings(max_examples=40, deadline=None)
def test_agrees_with_the_slow_oracle(seed: int, n: int, m: int, labels: int, restricted: bool) -> None:
    q, t = embeddings(seed, n, m)
    rng = random.Random(seed)
    query_ids, target_ids = ([rng.randrange(labels) for _ in range(size)] for size in (n, m))
    query_groups, target_groups = ([rng.choice("ab") for _ in range(size)] for size in (n, m))
    right = [[a == b for b in target_ids] for a in query_ids]
    allowed = [[not restricted or a == b for b in target_groups] for a in query_groups]
    restrict = (query_groups, target_groups) if restricted else None
    if not any(r and a for rs, al in zip(right, allowed, strict=True) for r, a in zip(rs, al, strict=True)):
        with pytest.raises(DataError, match="no query has a relevant candidate"):
            retrieval(q, t, query_ids=query_ids, target_ids=target_ids, restrict=restrict, samples=10)
        return
    found = retrieval(q, t, query_ids=query_ids, target_ids=target_ids, restrict=restrict, ks=(1, 3), samples=10)
    for k in (1, 3):
        recall, chance, middle, scored = slow_retrieval(q, t, right, allowed, k)
        assert found.recall[k].value == pytest.approx(recall)
        assert found.recall[k].chance == pytest.approx(chance)
        assert found.median_rank.value == middle
        assert found.n_skipped == n - scored


@pytest.mark.parametrize("constant", [torch.ones(40, 7), torch.zeros(40, 7), torch.full((40, 7), 0.1234567)])
def test_collapsed_embeddings_score_chance_and_not_one(constant: Tensor) -> None:
    noise = 1e-8 * torch.randn(40, 7, generator=torch.Generator().manual_seed(0)).double() * constant.any()
    found = retrieval(constant + noise, constant)
    for k, score in found.recall.items():
        assert score.value == pytest.approx(k / 40)
        assert score.chance == pytest.approx(k / 40)
        assert score.at_chance
        assert not score.above_chance
    assert found.median_rank.value == pytest.approx(20.5)
    assert found.median_rank.chance == pytest.approx(20.5)


@given(st.lists(st.integers(0, 2), min_size=3, max_size=6), st.lists(st.booleans(), min_size=6, max_size=6))
@settings(max_examples=40, deadline=None)
def test_ties_count_as_the_mean_over_all_orders(levels: list[int], marks: list[bool]) -> None:
    """One query at angle 0; a target of level l has cosine cos(l), so equal levels are tied."""
    right = marks[: len(levels)]
    if not any(right):
        right[0] = True
    targets = torch.tensor([[math.cos(level), math.sin(level)] for level in levels], dtype=torch.float64)
    found = retrieval(torch.tensor([[1.0, 0.0]]), targets, relevant=torch.tensor([right]), ks=(1, 2), samples=5)
    ranks = []
    for order in permutations(range(len(levels))):
        if [levels[j] for j in order] == sorted(levels):
            ranks.append([right[j] for j in order].index(True) + 1)
    for k in (1, 2):
        assert found.recall[k].value == pytest.approx(sum(r <= k for r in ranks) / len(ranks))
    assert found.median_rank.value == pytest.approx(sum(ranks) / len(ranks))


def test_chance_is_what_random_embeddings_get() -> None:
    ids = [i // 3 for i in range(30)]
    settings_: dict[str, Any] = {"query_ids": ids, "target_ids": ids, "samples": 2, "ks": (1, 5)}
    settings_["restrict"] = ([i % 2 for i in range(30)], [i % 2 for i in range(30)])
    generator = torch.Generator().manual_seed(0)
    runs = [
        retrieval(torch.randn(30, 5, generator=generator), torch.randn(30, 5, generator=generator), **settings_)
        for _ in range(120)
    ]
    for k in (1, 5):
        mean = sum(run.recall[k].value for run in runs) / len(runs)
        assert mean == pytest.approx(runs[0].recall[k].chance, abs=0.02)
    middle = sum(run.median_rank.value for run in runs) / len(runs)
    assert middle == pytest.approx(runs[0].median_rank.chance, abs=0.5)


def test_duplicates_are_right_answers() -> None:
    t = torch.eye(4)
    q = t[[1, 0, 3, 2]]  # every query finds its twin's target
    assert retrieval(q, t, ks=(1,)).recall[1].value == 0
    captions = ["red", "red", "blue", "blue"]
    assert retrieval(q, t, query_ids=captions, target_ids=captions, ks=(1,)).recall[1].value == 1


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_order_of_queries_and_targets_and_scale_do_not_matter(seed: int) -> None:
    q, t = embeddings(seed, 12, 12)
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.randperm(12, generator=generator), torch.randperm(12, generator=generator)
    a = retrieval(q, t, samples=5)
    b = retrieval(3 * q[rows], 0.2 * t[columns], query_ids=rows, target_ids=columns, samples=5)
    assert torch.equal(a.ranks[rows], b.ranks)
    assert [s.value for s in a.recall.values()] == pytest.approx([s.value for s in b.recall.values()])


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    q, t = embeddings(0, 50, 50)
    groups = [i // 7 for i in range(50)]
    whole = retrieval(q, t, restrict=(groups, groups), groups=groups)
    monkeypatch.setattr(relevance, "BLOCK", 150)
    parts = retrieval(q, t, restrict=(groups, groups), groups=groups)
    assert whole == parts
    assert torch.equal(whole.ranks, parts.ranks)


def test_restrict_limits_candidates_and_raises_chance_with_them() -> None:
    q, t = embeddings(1, 40, 40)
    groups = [i // 4 for i in range(40)]
    free, within = retrieval(q, t), retrieval(q, t, restrict=(groups, groups))
    assert (free.candidates, within.candidates) == (40, 4)
    assert within.recall[1].chance == pytest.approx(0.25)
    assert within.recall[5].value == within.recall[5].chance == 1
    assert within.recall[1].value >= free.recall[1].value


def test_both_directions_swap_everything() -> None:
    a, b = embeddings(2, 9, 5)
    right = torch.zeros(9, 5, dtype=torch.bool)
    right[torch.arange(9), torch.arange(9) % 5] = True
    groups = (list("aaabbbccc"), list("abcab"))
    both = bidirectional(a, b, relevant=right, groups=groups, ks=(1,))
    assert both.forward == retrieval(a, b, relevant=right, groups=groups[0], ks=(1,))
    assert both.backward == retrieval(b, a, relevant=right.T, groups=groups[1], ks=(1,))
    assert both.forward.recall[1].clusters == 3
    assert both.to_dict()["backward"]["n_queries"] == 5
    within = bidirectional(a, b, relevant=right, restrict=groups, ks=(1,))
    assert within.backward == retrieval(b, a, relevant=right.T, restrict=groups[::-1], ks=(1,))
    assert within.backward.candidates < 9


def test_skipped_queries_take_their_groups_with_them() -> None:
    q, t = embeddings(5, 6, 6)
    found = retrieval(q, t, query_ids=[0, 1, 2, -1, -2, -3], target_ids=list(range(6)), groups=list("aabccd"))
    assert (found.n_queries, found.n_skipped, len(found.ranks)) == (6, 3, 3)
    assert found.recall[1].clusters == 2
    assert (
        found.recall[1]
        == retrieval(q[:3], t, query_ids=[0, 1, 2], target_ids=list(range(6)), groups=list("aab")).recall[1]
    )


def test_agreement_counts_the_nearest_neighbour() -> None:
    t = torch.eye(4)
    q = t[[0, 2, 2, 3]]
    queries = {"shape": ["a", "a", "b", "b"], "size": [1, 2, 1, 2]}
    score = agreement(q, t, queries, queries, ["shape"])
    assert score.value == 0.75  # query 1 finds target 2, a "b"
    assert score.chance == 0.5
    both = agreement(q, t, queries, queries, ["shape", "size"])
    assert both.value == 0.75
    assert both.chance == 0.25
    apart = agreement(q, t, queries, queries, ["size"], exclude_self=True)
    assert apart.chance == pytest.approx(1 / 3)


def test_agreement_without_self_never_returns_the_pair() -> None:
    x = torch.randn(30, 8, generator=torch.Generator().manual_seed(3))
    unique = {"key": list(range(30))}
    assert agreement(x, x, unique, unique, ["key"]).value == 1
    alone = agreement(x, x, unique, unique, ["key"], exclude_self=True)
    assert alone.value == 0
    assert alone.chance == 0


def test_agreement_of_collapsed_embeddings_is_chance() -> None:
    factors = {"hardness": [i % 3 for i in range(31)]}
    noise = 1e-8 * torch.randn(31, 4, generator=torch.Generator().manual_seed(0)).double()
    score = agreement(torch.ones(31, 4), 1 + noise, factors, factors, ["hardness"], exclude_self=True)
    assert score.value == pytest.approx(score.chance)
    assert score.at_chance


def test_agreement_is_at_chance_on_a_factor_that_the_space_does_not_hold() -> None:
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(200, 8, generator=generator)
    seen = {"seen": (x[:, 0] > 0).tolist(), "unseen": torch.randint(3, (200,), generator=generator).tolist()}
    y = x + 0.1 * torch.randn(200, 8, generator=generator)
    assert agreement(x, y, seen, seen, ["seen"], exclude_self=True).above_chance
    assert agreement(x, y, seen, seen, ["unseen"], exclude_self=True).at_chance


def test_nearest_returns_the_best_first() -> None:
    values, rows = nearest(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1], [1, 1], [2, 0]]), k=9)
    assert rows.tolist() == [[2, 1, 0]]
    torch.testing.assert_close(values, torch.tensor([[1, 0.5**0.5, 0]], dtype=torch.float64))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"queries": torch.full((3, 2), torch.nan)}, DataError, "NaN or infinity"),
        ({"queries": torch.ones(0, 2)}, DataError, "empty split"),
        ({"queries": torch.ones(3, 5)}, DataError, "one width D"),
        ({"queries": torch.ones(4, 2)}, DataError, r"relevance is given for \(4, 4\)"),
        ({"query_ids": [1, 2, 3]}, ConfigError, "together"),
        ({"query_ids": [1, 2], "target_ids": [1, 2, 3]}, DataError, r"\(2, 3\)"),
        ({"ks": ()}, ConfigError, "ks="),
        ({"ks": (0, 1)}, ConfigError, "ks="),
        ({"groups": ["a"]}, DataError, "groups holds 1 labels"),
        ({"query_ids": [7, 8, 9], "target_ids": [1, 2, 3]}, DataError, "no query has a relevant"),
    ],
)
def test_bad_input_gives_one_clear_error(change: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments: dict[str, Any] = {"queries": torch.eye(3, 2), "targets": torch.eye(3, 2), **change}
    with pytest.raises(error, match=message):
        retrieval(**arguments)


def test_agreement_names_the_missing_factor() -> None:
    factors = {"shape": [1, 2]}
    with pytest.raises(ConfigError, match=r"'hue' is not on both sides\. Known: shape"):
        agreement(torch.eye(2), torch.eye(2), factors, factors, ["hue"])
    with pytest.raises(ConfigError, match="at least one"):
        agreement(torch.eye(2), torch.eye(2), factors, factors, [])
    with pytest.raises(DataError, match="exclude_self"):
        agreement(torch.eye(2), torch.eye(2)[:1], factors, {"shape": [1]}, ["shape"], exclude_self=True)
