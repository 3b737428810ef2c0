"""The scanner: even spread, metres, z up, never normalised."""

from __future__ import annotations

import numpy as np
import pytest

from pairalign.data.world import FACTORS
from pairalign.data.world.points import render_points
from pairalign.data.world.solids import Solid


def _cloud(shape: str, size: str = "medium", texture: str = "smooth", count: int = 4000, seed: int = 0) -> np.ndarray:
    return render_points(shape, size, texture, np.random.default_rng(seed), count)


@pytest.mark.parametrize("shape", FACTORS["shape"])
def test_clouds_are_centred_in_metres_with_z_up(shape: str) -> None:
    solid, cloud = Solid(shape, "medium", "smooth"), _cloud(shape)
    tall = cloud[:, 2].max() - cloud[:, 2].min()
    assert tall == pytest.approx(2 * solid.half, rel=0.06)
    np.testing.assert_allclose((cloud.max(0) + cloud.min(0))[:3] / 2, 0, atol=2e-3)


def test_points_are_spread_evenly_by_area() -> None:
    """Shares of area that geometry books give."""
    z = _cloud("sphere")[:, 2] / Solid("sphere", "medium", "smooth").radius
    assert np.std(z) == pytest.approx(1 / np.sqrt(3), rel=0.05)  # Archimedes: z of a ball's skin is uniform
    top = np.mean(_cloud("cube")[:, 5] > 0.8)
    assert top == pytest.approx(1 / 6, abs=0.03)
    solid, cone = Solid("cone", "medium", "smooth"), _cloud("cone")
    slant = np.hypot(solid.wide, 2 * solid.half)
    assert np.mean(cone[:, 5] < -0.8) == pytest.approx(solid.wide / (solid.wide + slant), abs=0.03)
    ring, cloud = Solid("ring", "medium", "smooth"), _cloud("ring")
    outer = np.mean(np.hypot(cloud[:, 0], cloud[:, 1]) > ring.wide)
    assert outer == pytest.approx(0.5 + ring.half / (np.pi * ring.wide), abs=0.03)  # Pappus


def test_scale_is_the_size() -> None:
    for shape in FACTORS["shape"]:
        radii = [
            [np.linalg.norm(_cloud(shape, size, "rough", 256, seed)[:, :3], axis=1).mean() for seed in range(5)]
            for size in FACTORS["size"]
        ]
        assert max(radii[0]) < min(radii[1])
        assert max(radii[1]) < min(radii[2])
