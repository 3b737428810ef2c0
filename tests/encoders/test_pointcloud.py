"""Sampling and neighbours against slow oracles, and what the point networks promise of their input."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pairalign.core.errors import ConfigError, SignalError
from pairalign.core.registry import create_encoder
from pairalign_pointcloud import sampling
from pairalign_pointcloud.sampling import ball_neighbours, farthest_points, group, nearest_neighbours

SMALL = {
    "pointnet2": {"points": 64, "width": 16, "channels": 8, "groups": [16, 4], "neighbours": [6, 4]},
    "dgcnn": {"points": 64, "width": 16, "channels": [8, 8], "neighbours": 6},
}


def clouds(batch: int, size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, size, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow_farthest(points: np.ndarray, count: int, start: int) -> list[int]:
    chosen = [start]
    while len(chosen) < count:
        gaps = [min(float(((p - points[c]) ** 2).sum()) for c in chosen) for p in points]
        chosen.append(int(np.argmax(gaps)))
    return chosen


@pytest.mark.parametrize("at_once", [0, 1024])
def test_farthest_points_against_the_definition(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "AT_ONCE", at_once)
    for points in clouds(3, 40):
        found = farthest_points(points, 12, start=5)
        assert found.tolist() == slow_farthest(points.numpy(), 12, 5)
        assert farthest_points(points, 7, start=5).equal(found[:7])  # a prefix is the smaller sample


def test_neighbours_against_brute_force() -> None:
    points, queries = clouds(2, 50), clouds(2, 9, seed=1)
    near = nearest_neighbours(queries, points, 5)
    ball = ball_neighbours(queries, points, 5, radius=0.8)
    for b in range(2):
        for q in range(9):
            distance = ((points[b] - queries[b, q]) ** 2).sum(1).sqrt()
            order = distance.argsort()[:5].tolist()
            assert sorted(near[b, q].tolist()) == sorted(order)
            inside = [i if distance[i] <= 0.8 else order[0] for i in order]
            assert sorted(ball[b, q].tolist()) == sorted(inside)


def test_group_gathers_rows() -> None:
    values, index = torch.arange(24.0).view(2, 4, 3), torch.tensor([[[0, 3]], [[2, 2]]])
    expected = torch.stack([values[0, [0, 3]], values[1, [2, 2]]])[:, None]
    assert group(values, index).equal(expected)


@pytest.mark.parametrize("name", SMALL)
def test_the_order_of_points_does_not_matter(name: str) -> None:
    torch.manual_seed(0)
    encoder = create_encoder(name, **SMALL[name]).eval()
    raw, rng = clouds(1, 200)[0].numpy(), np.random.default_rng(0)
    one, two = (encoder.preprocess(cloud) for cloud in (raw, rng.permutation(raw)))
    torch.testing.assert_close(one, two)  # farthest-point order is canonical
    with torch.no_grad():
        torch.testing.assert_close(encoder(one[None]).pooled, encoder(two[None]).pooled)


@pytest.mark.parametrize("name", SMALL)
def test_a_random_view_turns_about_the_up_axis_only(name: str) -> None:
    encoder = create_encoder(name, **SMALL[name], rotate="up", up="z", jitter=0.0)
    value = encoder.preprocess(clouds(1, 100)[0].numpy())
    view = encoder.augment(value, torch.Generator().manual_seed(0))
    torch.testing.assert_close(view[:, 2], value[:, 2])
    torch.testing.assert_close(view.norm(dim=1), value.norm(dim=1))
    assert (view - value).abs().max() > 0.1


def test_normals_turn_with_the_points() -> None:
    encoder = create_encoder("pointnet2", **SMALL["pointnet2"], normals=True, rotate="so3", jitter=0.0)
    sphere = torch.nn.functional.normalize(clouds(1, 100)[0].float(), dim=1)
    value = encoder.preprocess(torch.cat([2 * sphere, sphere], 1).numpy())
    view = encoder.augment(value, torch.Generator().manual_seed(0))
    torch.testing.assert_close(view[:, :3], 2 * view[:, 3:], atol=1e-5, rtol=0)


def test_few_points_repeat_and_odd_clouds_are_refused() -> None:
    encoder = create_encoder("pointnet2", **SMALL["pointnet2"])
    assert encoder.preprocess(np.zeros((1, 3))).shape == (64, 3)
    for raw in (np.zeros((0, 3)), np.zeros((5, 2)), np.zeros(9)):
        with pytest.raises(SignalError, match=r"give \(M, 3\) with M ≥ 1"):
            encoder.preprocess(raw)
    with pytest.raises(ConfigError, match="Did you mean 'so3'"):
        create_encoder("pointnet2", rotate="so4")
    encoder = create_encoder("pointnet2", **SMALL["pointnet2"], normalize="unit_ball")
    ball = encoder.preprocess(clouds(1, 80)[0].numpy() + 9)
    assert float(ball.norm(dim=1).max()) == pytest.approx(1.0, abs=1e-5)
