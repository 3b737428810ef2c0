"""What crosses from one modality's latents to another's: dimensions that the gate keeps, at the target's own scale."""

from __future__ import annotations

import pytest
import torch

from pairalign.align.latents import Latents
from pairalign.core.errors import DataError
from pairalign.translation.crossing import path_crossing
from pairalign.translation.looks import components, occupancy
from pairalign.translation.scores import accuracy, luck


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_closed_dimensions_and_the_private_part_are_the_targets_mean_whatever_the_source_says() -> None:
    source, target = normal(50, 4), Latents(3 + 5 * normal(60, 4, seed=1), normal(60, 2, seed=2))
    crossing = path_crossing(torch.tensor([1.0, 0.5, 0.0, 0.0]), source, target, "mean")
    found = crossing(normal(7, 4, seed=3) * 100)
    assert crossing.kept == [0, 1]
    assert torch.allclose(found.shared[:, 2:], target.shared.mean(0)[2:].expand(7, 2))
    assert torch.allclose(found.private, target.private.mean(0).expand(7, 2))


def test_an_open_dimension_is_brought_to_the_targets_mean_and_spread() -> None:
    source, target = 2 + 0.1 * normal(500, 3), Latents(-4 + 7 * normal(500, 3, seed=1), normal(500, 0))
    crossed = path_crossing(torch.ones(3), source, target, "mean")(source).shared
    assert torch.allclose(crossed.mean(0), target.shared.mean(0), atol=1e-3)
    assert torch.allclose(crossed.std(0), target.shared.std(0), rtol=1e-3)
    half = path_crossing(torch.tensor([1.0, 0.5, 0.5]), source, target, "mean")(source).shared
    assert half.std(0)[1] == pytest.approx(target.shared.std(0)[1].item() / 2, rel=1e-3)


def test_the_nearest_ones_give_the_rest() -> None:
    shared = torch.eye(4).repeat_interleave(5, 0)
    target = Latents(shared, torch.arange(4.0).repeat_interleave(5)[:, None])
    crossing = path_crossing(torch.ones(4), normal(10, 4), target, "nearest")
    assert crossing(torch.eye(4)).private.flatten().tolist() == [0, 1, 2, 3]
    cosine, rows = crossing.nearest(torch.eye(4))
    assert (rows[:, 0] // 5).tolist() == [0, 1, 2, 3]
    assert cosine.flatten().tolist() == pytest.approx([1, 1, 1, 1])


def test_a_path_that_lets_nothing_through_and_a_single_sample_are_refused() -> None:
    target = Latents(normal(5, 2), normal(5, 1))
    with pytest.raises(DataError, match="nothing crosses it"):
        path_crossing(torch.zeros(2), normal(5, 2), target, "mean")
    with pytest.raises(DataError, match="source: 1 true samples"):
        path_crossing(torch.ones(2), normal(1, 2), target, "mean")


def test_chance_is_what_the_same_answers_score_when_dealt_out_at_random() -> None:
    truth = torch.tensor([0] * 30 + [1] * 10)
    generator = torch.Generator().manual_seed(0)
    said = torch.tensor([0] * 24 + [1] * 16)[torch.randperm(40, generator=generator)]
    dealt = [float((said[torch.randperm(40, generator=generator)] == truth).double().mean()) for _ in range(4000)]
    assert luck(said, truth) == pytest.approx(sum(dealt) / len(dealt), abs=5e-3)
    assert luck(torch.zeros_like(truth), truth) == 0.75  # always the same answer: exactly its score


def test_a_control_that_goes_with_what_both_see_is_not_above_its_chance() -> None:
    strata = torch.arange(4).repeat_interleave(20)
    truth = torch.where(torch.arange(80) % 20 < 14, strata % 2, 1 - strata % 2)
    said = strata % 2  # knows the stratum, and no more
    assert accuracy(said, truth, None, None).above_chance
    within = accuracy(said, truth, strata, None)
    assert within.value == within.chance == pytest.approx(0.7)


def test_intervals_are_wilsons_over_clusters() -> None:
    said, truth = torch.zeros(40, dtype=torch.int64), torch.zeros(40, dtype=torch.int64)
    assert accuracy(said, truth, None, None).low == pytest.approx(0.912, abs=1e-3)
    score = accuracy(said, truth, None, [i // 10 for i in range(40)])
    assert (score.n, score.clusters) == (40, 4)
    assert score.low == pytest.approx(0.510, abs=1e-3)


def test_a_cloud_is_told_by_where_its_points_are_in_any_order() -> None:
    cloud = normal(3, 50, 3)
    seen = occupancy(cloud)
    assert torch.allclose(seen[:, :-1].sum(1), torch.ones(3))
    assert torch.allclose(seen, occupancy(cloud[:, torch.randperm(50)] + 5), atol=1e-4)
    assert torch.allclose(occupancy(3 * cloud)[:, :-1], seen[:, :-1])


def test_components_are_those_of_the_first_set_for_all() -> None:
    train, other = normal(40, 6), normal(9, 6, seed=1)
    one, two = components(train, other)
    assert one.shape == (40, 6)
    assert torch.allclose(torch.cdist(one[:9], two), torch.cdist(train[:9].double(), other.double()))
