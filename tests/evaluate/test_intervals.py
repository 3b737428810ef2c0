"""Intervals: against closed forms, and their coverage of a known truth."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pairalign.core.errors import ConfigError, DataError
from pairalign.evaluate.intervals import (
    Score,
    bootstrap,
    bootstrap_mean,
    class_mean,
    encode_labels,
    resample_weights,
    wilson,
)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_intervals(successes: int, n: int, low: float, high: float) -> None:
    score = wilson(successes, n)  # Newcombe 1998, table I, method 3
    assert (round(score.low, 4), round(score.high, 4)) == (low, high)
    assert score.value == successes / n


def test_bootstrap_of_a_mean_matches_its_standard_error() -> None:
    values = torch.randn(400, generator=torch.Generator().manual_seed(0)).double()
    score = bootstrap_mean(values, samples=4000)
    half = 1.96 * float(values.std(correction=0)) / math.sqrt(400)
    assert score.value == pytest.approx(float(values.mean()))
    assert (score.high - score.low) / 2 == pytest.approx(half, rel=0.06)


def test_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = torch.Generator().manual_seed(1)
    draws = (torch.rand(300, 60, generator=generator) < 0.3).double()
    covered = [s.low <= 0.3 <= s.high for s in (bootstrap_mean(d, samples=300) for d in draws)]
    assert 0.89 <= sum(covered) / 300 <= 0.98


def test_clustered_samples_need_the_cluster_bootstrap() -> None:
    generator = torch.Generator().manual_seed(2)
    plain, clustered = 0, 0
    groups = [i // 20 for i in range(400)]
    for _ in range(60):
        values = torch.randn(20, generator=generator).repeat_interleave(20)
        values = values + 0.1 * torch.randn(400, generator=generator)
        a, b = bootstrap_mean(values, samples=300), bootstrap_mean(values, samples=300, groups=groups)
        plain += a.low <= 0 <= a.high
        clustered += b.low <= 0 <= b.high
    assert plain < 36  # far from 57
    assert clustered >= 50
    assert b.clusters == 20


def test_cluster_resamples_draw_whole_groups_and_keep_their_number() -> None:
    groups = ["a", "b", "b", "c", "c", "c"]
    (weights,) = resample_weights(6, groups=groups, samples=50)
    assert torch.equal(weights[:, 1], weights[:, 2])
    assert torch.equal(weights[:, 3], weights[:, 5])
    assert (weights[:, [0, 1, 3]].sum(1) == 3).all()


def test_resampling_in_blocks_draws_n_samples_each_time() -> None:
    blocks = list(resample_weights(9000, samples=1000, seed=3))
    assert len(blocks) > 1
    weights = torch.cat(blocks)
    assert weights.shape == (1000, 9000)
    assert (weights.sum(1) == 9000).all()
    assert float(weights.var()) == pytest.approx(1, rel=0.02)  # Poisson-like counts


@pytest.mark.parametrize("value", [0.0, 1.0, 0.025])
def test_equal_shares_get_the_wilson_interval_not_one_of_no_width(value: float) -> None:
    score = bootstrap_mean([value] * 40, chance=value)
    bound = wilson(40 * value, 40)
    assert (score.low, score.high) == pytest.approx((bound.low, bound.high))
    assert score.low < score.high
    assert score.at_chance
    clustered = bootstrap_mean([value] * 40, groups=[i // 10 for i in range(40)])
    assert clustered.high - clustered.low > score.high - score.low


@given(st.lists(st.booleans(), min_size=2, max_size=30), st.randoms())
@settings(max_examples=25, deadline=None)
def test_value_is_the_mean_inside_its_interval_and_order_does_not_matter(hits: list[bool], random: object) -> None:
    score = bootstrap_mean([float(h) for h in hits], samples=200)
    assert score.value == pytest.approx(sum(hits) / len(hits))
    assert score.low <= score.value <= score.high
    shuffled = sorted(hits, key=lambda _: random.random())  # type: ignore[attr-defined]
    assert bootstrap_mean([float(h) for h in shuffled], samples=200).value == pytest.approx(score.value)


def test_same_seed_same_interval() -> None:
    values = torch.rand(50, generator=torch.Generator().manual_seed(4))
    assert bootstrap_mean(values, seed=5) == bootstrap_mean(values, seed=5)
    assert bootstrap_mean(values, seed=5) != bootstrap_mean(values, seed=6)


def test_class_mean_weighs_every_class_alike_and_skips_absent_ones() -> None:
    values, classes = torch.tensor([1.0, 1, 1, 0]), torch.tensor([0, 0, 0, 2])
    statistic = class_mean(values, classes)
    assert float(statistic(torch.ones(1, 4).double())) == 0.5
    assert float(statistic(torch.tensor([[1.0, 1, 1, 0]]).double())) == 1.0


def test_resamples_without_a_value_are_left_out() -> None:
    score = bootstrap(lambda w: torch.where(w[:, 0] > 0, w[:, 0] * 0 + 2, torch.nan), 3)
    assert (score.low, score.high) == (2, 2)


def test_labels_of_any_kind_are_numbered_alike_across_columns() -> None:
    a, b = encode_labels(["x", ("y", 1), "x"], ["z", "x"])
    assert a.tolist() == [0, 1, 0]
    assert b.tolist() == [2, 0]
    assert encode_labels(torch.tensor([7, 7, 3]))[0].tolist() == [0, 0, 1]


def test_a_score_says_where_it_stands_against_chance() -> None:
    assert Score(0.5, 0.4, 0.6, 9, chance=0.3).above_chance
    assert not Score(0.5, 0.2, 0.6, 9, chance=0.3).above_chance
    assert Score(0.5, 0.2, 0.6, 9, chance=0.3).at_chance
    assert not Score(0.5, 0.4, 0.6, 9).at_chance
    assert str(Score(0.5, 0.4, 0.6, 9, 0.1)) == "0.500 [0.400, 0.600], chance 0.100, n 9"


def test_bad_arguments_name_themselves() -> None:
    with pytest.raises(DataError, match=r"groups holds 2 labels for 3 samples"):
        bootstrap_mean([1.0, 0.0, 1.0], groups=["a", "b"])
    with pytest.raises(ConfigError, match=r"level=95"):
        bootstrap_mean([1.0, 0.0], level=95)
    with pytest.raises(DataError, match=r"successes=3"):
        wilson(3, 2)
    with pytest.raises(DataError, match=r"n=0"):
        bootstrap_mean([])


@pytest.mark.parametrize("n", [7, 60, 90, 101])
def test_wilson_stays_between_nothing_and_all(n: int) -> None:
    assert wilson(0, n).low == 0.0
    assert wilson(n, n).high == 1.0
