"""Two clouds of one surface are recognised however they lie; two surfaces are not."""

from __future__ import annotations

import numpy as np
import pytest

from pairalign.data.audit.clouds import same_points, spacing, surface_ratio


def table(rng: np.random.Generator, points: int = 600, legs: float = 1.0) -> np.ndarray:
    """Random points on a table top with an edge on one side and two legs."""
    boxes = np.array([[2, 1.2, 0.05], [0.05, 1.2, 0.6], [0.1, 0.1, legs], [0.1, 0.1, 0.5 * legs]])
    corners = np.array([[0, 0, 0], [2, 0, 0], [0, 0, -legs], [1.9, 1.1, -0.5 * legs]])
    which = rng.integers(4, size=points)
    return (corners[which] + boxes[which] * rng.random((points, 3))).astype(np.float32)


def turn(degrees: float) -> np.ndarray:
    a = np.radians(degrees)
    return np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])


@pytest.mark.parametrize("degrees", [0, 90, 37])
def test_the_same_points_moved_are_the_same_surface(degrees: float) -> None:
    rng = np.random.default_rng(0)
    a = table(rng)
    b = 3 * rng.permutation(a) @ turn(degrees).T + np.array([5, -2, 1])
    assert surface_ratio(a, b) < 0.05
    assert same_points(a, b) < 0.05


def test_the_same_points_are_told_from_others_of_the_surface_in_large_clouds() -> None:
    rng = np.random.default_rng(1)
    a = table(rng, 3000)
    assert same_points(a, rng.permutation(a) @ turn(90).T) < 0.4
    assert same_points(a, table(rng, 3000) @ turn(90).T) > 0.6


def test_other_points_of_one_surface_lie_far_below_another_surface() -> None:
    same, other = [], []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        a = table(rng, 1024)
        same.append(surface_ratio(a, table(rng, 1024) @ turn(90).T))
        other.append(surface_ratio(a, table(rng, 1024, legs=2.0)))
    assert 0.8 < np.median(same) < 1.3
    assert min(other) > 2


def test_spacing_is_the_mean_distance_to_the_nearest_other_point() -> None:
    cloud = np.random.default_rng(0).random((40, 3))
    nearest = [min(np.linalg.norm(cloud[i] - cloud[j]) for j in range(40) if j != i) for i in range(40)]
    assert spacing(cloud) == pytest.approx(np.mean(nearest), rel=1e-5)
