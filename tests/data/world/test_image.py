"""The picture: the object is where the geometry says, in its colour, and size is its size on the sensor."""

from __future__ import annotations

import numpy as np
import pytest

from pairalign.data.world import FACTORS
from pairalign.data.world.image import COLOURS, _camera, _trace, draw_view, render_image
from pairalign.data.world.solids import Solid


@pytest.mark.parametrize("shape", FACTORS["shape"])
@pytest.mark.parametrize("texture", FACTORS["texture"])
def test_tracing_agrees_with_a_fine_march(shape: str, texture: str) -> None:
    """An oracle that knows no distances: sample the field densely along each ray."""
    solid = Solid(shape, "medium", texture)
    origin, rays = _camera(draw_view(np.random.default_rng(3)), solid, 32)
    hit, place = _trace(solid, origin, rays)
    steps = np.linspace(0.34, 0.56, 900, dtype=np.float32)
    inside = np.stack([solid.field(origin + t * rays) < 0 for t in steps])
    truly = np.flatnonzero(inside.any(0))
    assert len(set(hit) ^ set(truly)) <= 0.12 * len(truly), "silhouettes differ"
    depth = dict(zip(truly, steps[inside.argmax(0)[truly]], strict=True))
    found = {ray: float(np.linalg.norm(p - origin[:, 0])) for ray, p in zip(hit, place.T, strict=True)}
    error = np.array([abs(found[ray] - depth[ray]) for ray in set(found) & set(depth)])
    assert np.median(error) < 5e-4
    assert np.mean(error < 2e-3) > 0.9


def test_colours_are_told_apart_by_the_middle_pixels() -> None:
    """Chromaticity of a smooth ball's middle is nearest to its own colour, under every drawn light."""
    reference = np.array([np.array(rgb) / np.sum(rgb) for rgb in COLOURS.values()])
    for number, colour in enumerate(COLOURS):
        for seed in range(5):
            image = render_image("sphere", "large", colour, "smooth", np.random.default_rng(seed), 32)
            middle = (np.asarray(image, float)[13:19, 13:19].mean((0, 1)) / 255) ** 2.2
            assert np.argmin(((middle / middle.sum() - reference) ** 2).sum(1)) == number


def test_larger_objects_cover_more_pixels() -> None:
    for shape in FACTORS["shape"]:
        covered = []
        for size in FACTORS["size"]:
            solid = Solid(shape, size, "smooth")
            counts = []
            for seed in range(4):
                origin, rays = _camera(draw_view(np.random.default_rng(seed)), solid, 32)
                counts.append(len(_trace(solid, origin, rays)[0]))
            covered.append(counts)
        small, medium, large = map(np.array, covered)
        assert max(small) < min(medium)
        assert max(medium) < min(large)
