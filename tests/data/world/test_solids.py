"""The geometry against slow oracles: nearest points of a dense sampling, exact normals, closed patterns."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from pairalign.data.world import FACTORS
from pairalign.data.world.points import render_points
from pairalign.data.world.relief import AMPLITUDE
from pairalign.data.world.solids import HULL, Solid, length

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", FACTORS["shape"])
def test_distance_agrees_with_the_nearest_surface_point(shape: str) -> None:
    """The surface is found by bisection between points inside and outside."""
    solid = Solid(shape, "medium", "smooth")
    surface = _surface_by_bisection(solid, 60_000)
    probes = RNG.uniform(-1.5, 1.5, (3, 300)).astype(np.float32) * np.float32(solid.radius)
    nearest = np.array([length(surface - p[:, None]).min() for p in probes.T])
    claimed = np.abs(solid.distance(probes))
    assert np.all(claimed <= nearest + 1e-6), "tracing would step through the surface"
    close = nearest < 0.2 * solid.radius
    assert close.sum() > 20
    assert np.median(claimed[close] / nearest[close]) > 0.9


@pytest.mark.parametrize(("shape", "texture"), product(FACTORS["shape"], FACTORS["texture"]))
def test_points_lie_in_the_relief(shape: str, texture: str) -> None:
    solid = Solid(shape, "large", texture)
    cloud = render_points(shape, "large", texture, np.random.default_rng(1), 400)
    place, normal = _unturn(solid, cloud[:, :3].T, cloud[:, 3:].T)
    np.testing.assert_allclose(length(normal), 1, atol=1e-5)
    off = np.abs(solid.field(place))
    assert np.quantile(off, 0.9) < 0.0015
    assert off.max() < 1.5 * HULL  # the rows of a chart jump at the edges of a body
    outwards = solid.field(place + 0.0015 * normal) - solid.field(place - 0.0015 * normal)
    assert np.mean(outwards > 0) > 0.97
    spread = np.sqrt(np.mean(solid.distance(place) ** 2))
    assert (spread > 0.25 * AMPLITUDE) == (texture != "smooth")


def test_normals_of_a_smooth_ball_are_exact() -> None:
    solid = Solid("sphere", "small", "smooth")
    p = RNG.normal(size=(3, 200)).astype(np.float32)
    p = p / length(p) * np.float32(solid.radius)
    np.testing.assert_allclose(solid.normal(p), p / np.float32(solid.radius), atol=1e-2)


@pytest.mark.parametrize(("shape", "texture"), product(FACTORS["shape"], FACTORS["texture"]))
def test_relief_stays_in_its_hull(shape: str, texture: str) -> None:
    solid = Solid(shape, "medium", texture)
    heights = solid.relief(_surface_by_bisection(solid, 4000))
    assert np.abs(heights).max() <= HULL
    assert (np.abs(heights).max() > 0.8 * AMPLITUDE) == (texture != "smooth")


@pytest.mark.parametrize("texture", ["ridged", "bumpy", "gridded"])
@pytest.mark.parametrize("shape", ["sphere", "cylinder", "cone", "ring"])
def test_patterns_close_around_the_axis(shape: str, texture: str) -> None:
    """Just before and just after the seam of the angle the relief is the same."""
    solid = Solid(shape, "large", texture)
    p = _surface_by_bisection(solid, 3000)
    r = np.hypot(p[0], p[1])
    before, after = (np.stack([-r, side * 1e-6 * np.ones_like(r), p[2]]).astype(np.float32) for side in (-1, 1))
    np.testing.assert_allclose(solid.relief(before), solid.relief(after), atol=2e-5)


def test_sizes_differ_and_reach_holds_the_body() -> None:
    for shape in FACTORS["shape"]:
        radii = []
        for size in FACTORS["size"]:
            solid = Solid(shape, size, "bumpy")
            far = length(_surface_by_bisection(solid, 3000)).max()
            assert far + AMPLITUDE < solid.reach
            radii.append(far)
        assert radii[1] > 1.2 * radii[0]
        assert radii[2] > 1.2 * radii[1]


def _surface_by_bisection(solid: Solid, count: int) -> np.ndarray:
    """Zero crossings of the bare distance between points outside and a core inside, (3, count)."""
    outside = RNG.normal(size=(3, count)).astype(np.float32)
    outside *= np.float32(2 * solid.reach) / length(outside)
    inside = np.zeros_like(outside)
    if solid.shape == "ring":
        inside[:2] = outside[:2] / np.hypot(*outside[:2]) * np.float32(solid.wide)
        tilt = RNG.uniform(0, 2 * np.pi, count)
        outside = inside + np.float32(1.9 * solid.half) * np.stack(
            [inside[0] / solid.wide * np.cos(tilt), inside[1] / solid.wide * np.cos(tilt), np.sin(tilt)]
        ).astype(np.float32)
    for _ in range(40):
        middle = 0.5 * (inside + outside)
        within = solid.distance(middle) < 0
        inside, outside = np.where(within, middle, inside), np.where(within, outside, middle)
    return outside


def _unturn(solid: Solid, place: np.ndarray, normal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Undo the drawn turn about z: of all angles, the one at which the cloud lies best in the surface."""

    def turned(angle: float, value: np.ndarray) -> np.ndarray:
        c, s = np.cos(angle), np.sin(angle)
        return np.stack([c * value[0] - s * value[1], s * value[0] + c * value[1], value[2]]).astype(np.float32)

    angles = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    best = min(angles, key=lambda angle: float(np.abs(solid.field(turned(angle, place))).mean()))
    return turned(best, place), turned(best, normal)
