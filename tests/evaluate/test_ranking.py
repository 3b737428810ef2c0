"""The arithmetic of ties and chance, against counting every order."""

from __future__ import annotations

from itertools import permutations
from statistics import median

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pairalign.evaluate.ranking import chance_median, hit_probability


@given(st.integers(0, 4), st.integers(0, 3), st.integers(-1, 8))
@settings(max_examples=60, deadline=None)
def test_hit_probability_counts_all_orders(wrong: int, right: int, k: int) -> None:
    orders = list(permutations([False] * wrong + [True] * right))
    share = sum(any(order[: max(k, 0)]) for order in orders) / len(orders)
    found = hit_probability(torch.tensor([k]), torch.tensor([wrong]), torch.tensor([right]))
    assert float(found) == pytest.approx(share, abs=1e-12)


def test_hit_probability_is_exact_for_one_right_target() -> None:
    k, m = torch.tensor([1, 5, 10, 300]), 384
    found = hit_probability(k, torch.full_like(k, m - 1), torch.ones_like(k))
    torch.testing.assert_close(found, k.double() / m, rtol=0, atol=1e-15)


def test_hit_probability_stays_sound_for_large_pools() -> None:
    found = hit_probability(torch.tensor([5000.0]), torch.tensor([99000.0]), torch.tensor([1000.0]))
    assert float(found) == pytest.approx(1.0)
    found = hit_probability(torch.tensor([10.0]), torch.tensor([1e6 - 1]), torch.tensor([1.0]))
    assert float(found) == pytest.approx(1e-5, rel=1e-9)


@pytest.mark.parametrize("pools", [[(1, 6)], [(2, 5)], [(1, 4), (2, 4), (3, 4)], [(1, 1)], [(4, 4)]])
def test_chance_median_counts_all_orders(pools: list[tuple[int, int]]) -> None:
    ranks = []
    for right, total in pools:
        orders = list(permutations([True] * right + [False] * (total - right)))
        repeat = 24 * 5 * 6 // len(orders) or 1  # give each pool the same weight
        ranks += [order.index(True) + 1 for order in orders] * repeat
    right, total = torch.tensor(pools, dtype=torch.float64).T
    assert chance_median(right, total) == median(ranks)
