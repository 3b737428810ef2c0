"""Sketches keep what their check needs and lose what it must not see."""

from __future__ import annotations

import numpy as np
import pytest

from pairalign.data.audit.sketch import LEVELS, cloud_shape, sketch
from pairalign.data.index import ModalityInfo


def test_the_shape_of_a_cloud_ignores_place_size_turn_and_order() -> None:
    rng = np.random.default_rng(0)
    cloud = rng.normal(size=(300, 3)) * [1, 2, 4]
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    moved = 2.5 * rng.permutation(cloud) @ turn.T + [3, 4, 5]
    np.testing.assert_allclose(cloud_shape(moved), cloud_shape(cloud), atol=1e-3)
    assert np.abs(cloud_shape(rng.normal(size=(300, 3))) - cloud_shape(cloud)).max() > 0.2


def test_levels_count_what_piles_up_at_the_ends() -> None:
    array = np.linspace(-1, 1, 100, dtype=np.float32)[None].repeat(2, 0)
    array[0, -11:] = 1
    found = sketch(array, "series", ModalityInfo(("npy",), rate=10.0, range=(-1.0, 1.0)))["levels"]
    levels = dict(zip(LEVELS, found.tolist(), strict=True))
    assert (levels["low"], levels["high"]) == (-1, 1)
    np.testing.assert_allclose(levels["std"], array.std(), rtol=1e-5)
    np.testing.assert_allclose([levels["at_high"], levels["at_low"]], [11 / 200, 1 / 200])  # 12 and 2 values, less one
    assert levels["dead"] == 0


def test_the_difference_is_that_to_the_background() -> None:
    rng = np.random.default_rng(0)
    rest = rng.integers(0, 100, (64, 64, 3), dtype=np.uint8)
    found = sketch({"value": rest + np.uint8(51), "background": rest}, "image")
    np.testing.assert_allclose(found["difference"], 51 / 255, atol=1e-6)
    series = rng.normal(size=(2, 128)).astype(np.float32)
    found = sketch({"value": series + 3, "background": series}, "series", ModalityInfo(("npy",), rate=10.0))
    np.testing.assert_allclose(found["difference"], 3, atol=1e-5)
    assert "background" not in sketch(series, "series")
    assert sketch("a mug", "text") == {}


@pytest.mark.parametrize("count", [1, 2, 3, 200])
def test_a_cloud_has_one_sketch_however_it_lies(count: int) -> None:
    cloud = np.random.default_rng(0).standard_normal((count, 6)).astype(np.float32)
    rows, columns = (ModalityInfo(("npy",), axes=axes) for axes in (("point", "xyznormal"), ("xyznormal", "point")))
    one, other = sketch(cloud, "points", rows), sketch(np.ascontiguousarray(cloud.T), "points", columns)
    assert one.keys() == other.keys()
    for name, found in one.items():
        np.testing.assert_allclose(found, other[name], rtol=1e-5, atol=1e-6)
