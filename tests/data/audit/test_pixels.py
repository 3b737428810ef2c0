"""Small pictures are exact box means in any layout; the border does not see the middle."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pairalign.data.audit.pixels import ALIKE, CONTRAST, border, picture_cues, shrink, small_picture
from pairalign.data.index import ModalityInfo


def test_a_small_picture_is_the_mean_of_its_blocks() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (96, 64, 3), dtype=np.uint8)
    slow = [[picture[6 * i : 6 * i + 6, 4 * j : 4 * j + 4].mean((0, 1)) / 255 for j in range(16)] for i in range(16)]
    np.testing.assert_allclose(small_picture(picture, side=16), slow, atol=1e-6)
    np.testing.assert_allclose(small_picture(picture.transpose(2, 0, 1), side=16), slow, atol=1e-6)
    np.testing.assert_allclose(
        small_picture(Image.fromarray(picture), side=16), slow, atol=1 / 255
    )  # PIL rounds once an axis
    np.testing.assert_allclose(shrink(small_picture(picture, side=32), 16), slow, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 7), (40, 40, 1), (3, 20, 20, 3)])
def test_any_picture_becomes_a_small_one(shape: tuple[int, ...]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    small = small_picture(picture, side=16)
    assert small.shape == (16, 16, 3)
    assert 0 <= small.min() <= small.max() <= 1


def test_depth_is_scaled_by_the_range_of_the_index() -> None:
    depth = np.full((20, 20), 3000, np.uint16)
    info = ModalityInfo(("png",), range=(1000.0, 5000.0))
    np.testing.assert_allclose(small_picture(depth, info, 16), 0.5, atol=1e-6)


def test_the_border_leaves_the_contact_out() -> None:
    look = np.zeros((16, 16, 3))
    look[2:-2, 2:-2] = 1
    assert border(look).shape == (3 * (256 - 144),)
    assert not border(look).any()


def test_cues_tell_lamps_of_several_colours_from_daylight() -> None:
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    gel = 0.5 + 0.2 * np.stack([x, y, -x - y], -1)
    photo = 0.5 + 0.45 * np.sign(np.sin(9 * x) * np.sin(7 * y))[..., None] * np.array([1, 0.9, 0.8])
    assert picture_cues(gel)[ALIKE] < 0 < 0.99 < picture_cues(photo)[ALIKE]
    assert picture_cues(gel)[CONTRAST] < picture_cues(photo)[CONTRAST]
