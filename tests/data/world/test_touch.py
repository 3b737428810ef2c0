"""The gel: hardness is in the slope of the imprint, force is not, and no contact means no imprint."""

from __future__ import annotations

import numpy as np
import pytest

from pairalign.data.world import FACTORS
from pairalign.data.world.touch import contact_depth, render_touch

TEXTURES = FACTORS["texture"]


def _steepness(texture: str, hardness: str, seed: int) -> float:
    depth = contact_depth(texture, hardness, np.random.default_rng(seed))
    slopes = np.hypot(*np.gradient(depth))[depth > 0]
    return float(np.sqrt(np.mean(slopes**2)))


@pytest.mark.parametrize("texture", TEXTURES)
def test_hardness_orders_the_steepness_of_all_imprints(texture: str) -> None:
    """Whatever the force, place and turn of the press, harder is steeper: the ranges do not even overlap."""
    ranges = [[_steepness(texture, hardness, seed) for seed in range(40)] for hardness in FACTORS["hardness"]]
    assert max(ranges[0]) < min(ranges[1])
    assert max(ranges[1]) < min(ranges[2])


def test_depth_is_zero_off_contact_and_positive_on_it() -> None:
    for seed in range(10):
        depth = contact_depth("smooth", "hard", np.random.default_rng(seed))
        assert depth.min() == 0
        assert 1e-3 < depth.max() < 6e-3
        assert depth[0].max() == depth[-1].max() == 0
        assert 0.15 < np.mean(depth > 0) < 0.8


def test_background_is_the_same_sensor_without_contact() -> None:
    gel, background = (np.asarray(x, float) for x in render_touch("smooth", "hard", np.random.default_rng(0)))
    border = np.ones(gel.shape[:2], bool)
    border[3:-3, 3:-3] = False
    assert np.abs(gel[border].mean(0) - background[border].mean(0)).max() < 1.5
    assert np.abs(gel - background).max() > 20
    again, other = render_touch("bumpy", "soft", np.random.default_rng(0))
    assert np.abs(np.asarray(other, float).mean() - background.mean()) < 1, "the sensor, not the object"
    assert np.asarray(again).shape == np.asarray(other).shape == (48, 48, 3)


def test_three_lights_see_three_slopes() -> None:
    """Opposite sides of a dome are lit by different lights: colour tells the direction of the slope."""
    gel, background = (np.asarray(x, float) for x in render_touch("smooth", "hard", np.random.default_rng(4)))
    lit = gel - background
    depth = contact_depth_of_same_press(4)
    gy, gx = np.gradient(depth)
    for angle, channel in ((90, 0), (210, 1), (330, 2)):
        facing = np.cos(np.deg2rad(angle)) * gx + np.sin(np.deg2rad(angle)) * gy
        steep = np.abs(facing) > np.quantile(np.abs(facing), 0.8)
        assert np.corrcoef(lit[..., channel][steep], facing[steep])[0, 1] > 0.9


def contact_depth_of_same_press(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rng.uniform(0.95, 1.05, (3, 1, 1))  # the sensor's own lights are drawn first
    return contact_depth("smooth", "hard", rng)
