"""What a stored value is taken for, and that a series always comes as (channel, time)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from pairalign.data.index import ModalityInfo
from pairalign.data.kinds import cloud_rows, kind_of, main_value, names_touch, series_array, words

RATE = ModalityInfo(("npy",), rate=100.0)


@pytest.mark.parametrize(
    ("value", "info", "kind"),
    [
        ("a mug", None, "text"),
        ({"turns": ["hello"]}, None, "text"),
        (Image.new("L", (4, 4)), None, "image"),
        (np.zeros((3, 8, 8)), None, "image"),
        (np.zeros((8, 9), np.uint8), None, "image"),
        (np.zeros((30, 40)), None, "image"),
        (np.zeros((500, 3), np.float32), None, "points"),
        (np.zeros((500, 6), np.float32), None, "points"),
        (np.zeros((500, 3), np.float32), RATE, "series"),
        (np.zeros((500, 3), np.float32), ModalityInfo(("npy",), axes=("time", "axis")), "series"),
        (np.zeros((3, 500), np.float32), None, "series"),
        (np.zeros((3, 500), np.float32), ModalityInfo(("npy",), axes=("xyz", "point")), "points"),
        (np.zeros((2, 3), np.int32), ModalityInfo(("npy",), axes=("Point", "xyz")), "points"),
        (np.zeros(7), None, "vector"),
        (np.zeros(7), ModalityInfo(("wav",)), "series"),
        (np.zeros(640), None, "series"),
        (np.float32(3), None, "vector"),
    ],
)
def test_the_kind_of_a_value(value: Any, info: ModalityInfo | None, kind: str) -> None:
    assert kind_of(value, info) == kind


def test_a_cloud_stands_by_rows_whichever_way_its_index_says_it_lies() -> None:
    cloud = np.arange(30.0).reshape(10, 3)
    for value, axes in ((cloud, ("point", "xyz")), (cloud.T, ("xyz", "points")), (cloud, None)):
        assert cloud_rows(value, ModalityInfo(("npy",), axes=axes)).tolist() == cloud.tolist()


@pytest.mark.parametrize(
    ("shape", "axes"), [((3, 50), None), ((50, 3), None), ((50, 3), ("time", "axis")), ((3, 50), ("axis", "time"))]
)
def test_a_series_has_time_last(shape: tuple[int, int], axes: tuple[str, ...] | None) -> None:
    array = np.arange(150).reshape(shape)
    found = series_array(array, ModalityInfo(("npy",), rate=1.0, axes=axes))
    np.testing.assert_array_equal(found, array if shape[1] == 50 else array.T)
    assert found.dtype == np.float64
    assert (
        series_array(array.astype(np.float32), None).dtype == series_array(array.astype(np.int16)).dtype == np.float32
    )


def test_a_named_time_axis_wins_over_the_longer_one() -> None:
    array = np.arange(12).reshape(2, 6)
    found = series_array(array, ModalityInfo(("npy",), rate=1.0, axes=("time", "electrode")))
    np.testing.assert_array_equal(found, array.T)
    assert series_array(np.arange(5.0)).shape == (1, 5)


def test_the_main_value_of_parts() -> None:
    assert main_value("a mug") == "a mug"
    assert main_value({"value": 1, "background": 0}) == 1
    assert main_value({"frames": [1, 2, 3], "background": 0}) == 3
    assert main_value({"material": "steel"}) == {"material": "steel"}  # a value read from JSON has no parts


def test_names_of_touch_sensors() -> None:
    assert words("image_third-view2") == {"image", "third", "view"}
    assert [names_touch(n) for n in ("touch", "left_gelsight", "Digit2", "image", "contactless")] == [1, 1, 1, 0, 0]
