"""Intervals of differences are Newcombe's own examples; those of means cover the truth as often as they say."""

from __future__ import annotations

import pytest
import torch

from pairalign.evaluate.combined import difference, mean_of, points
from pairalign.evaluate.intervals import Score, wilson


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    [((56, 70), (48, 80), 0.0524, 0.3339), ((9, 10), (3, 10), 0.1705, 0.8090), ((5, 56), (0, 29), -0.0381, 0.1926)],
)
def test_differences_are_method_10_of_newcombe(
    one: tuple[int, int], other: tuple[int, int], low: float, high: float
) -> None:
    found = difference(wilson(*one), wilson(*other))
    assert found.value == pytest.approx(one[0] / one[1] - other[0] / other[1])
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_the_interval_of_a_mean_covers_the_truth_as_often_as_it_says() -> None:
    generator = torch.Generator().manual_seed(0)
    truth, n = torch.tensor([0.5, 0.9, 0.2]), 40
    drawn = torch.binomial(torch.full((400, 3), float(n)), truth.expand(400, 3), generator=generator)
    found = [mean_of([wilson(hits, n) for hits in row]) for row in drawn.tolist()]
    covered = sum(score.low <= float(truth.mean()) <= score.high for score in found) / len(found)
    assert 0.92 <= covered <= 0.99
    assert found[0].n == 120


def test_a_mean_of_one_is_itself_and_has_chance_only_where_all_have() -> None:
    one = wilson(3, 10, chance=0.25)
    assert mean_of([one]) == one
    assert mean_of([one, wilson(3, 10, chance=0.75)]).chance == pytest.approx(0.5)
    assert mean_of([one, wilson(3, 10)]).chance is None


def test_points_lost_turn_the_interval_around() -> None:
    lost = points(Score(-0.1, -0.3, 0.05, 20, 0.0), -100)
    assert (lost.value, lost.low, lost.high) == pytest.approx((10, -5, 30))
    assert str(points(Score(0.0, -0.1, 0.1, 5), -100).value) == "0.0"
