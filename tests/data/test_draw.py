"""Signals drawn from every form that a loader may hand over."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from pairalign.core.errors import ConfigError, DataError
from pairalign.data.draw import draw_signal, new_figure, picture_array, signal_aspect

RAMP = np.linspace(0, 1, 6 * 8 * 3).reshape(6, 8, 3)
BYTES = (RAMP * 255).round().astype(np.uint8)


@pytest.mark.parametrize(
    "form",
    [
        RAMP,
        BYTES,
        BYTES / 1.0,
        RAMP.transpose(2, 0, 1),
        torch.tensor(RAMP).permute(2, 0, 1),
        Image.fromarray(BYTES),
    ],
    ids=["floats", "bytes", "float bytes", "channels first", "tensor", "PIL"],
)
def test_one_image_in_any_form_is_one_picture(form: Any) -> None:
    picture = picture_array(form)
    assert picture.shape == (6, 8, 3)
    np.testing.assert_allclose(picture, RAMP, atol=0.003)


def test_signed_differences_stay_around_mid_grey() -> None:
    picture = picture_array(np.array([[0.0, -1.0], [1.0, 2.0]]))
    np.testing.assert_allclose(picture[..., 0], [[0.5, 0.25], [0.75, 1]])
    assert (picture[..., 0] == picture[..., 2]).all()


def test_depth_in_its_own_unit_is_stretched_and_a_constant_is_not_an_error() -> None:
    depth = picture_array(np.array([[1000, 2000], [3000, 3000]], dtype=np.uint16))
    np.testing.assert_allclose(depth[..., 0], [[0, 0.5], [1, 1]])
    assert np.isfinite(picture_array(np.full((4, 4), 7e4))).all()
    assert np.isfinite(picture_array(np.full((4, 4), np.nan))).all()


def test_frames_stand_side_by_side() -> None:
    frames = torch.tensor(RAMP).permute(2, 0, 1).expand(4, 3, 6, 8)
    assert picture_array(frames).shape == (6, 32, 3)
    assert signal_aspect("image", frames) == 0.3
    assert signal_aspect("image", RAMP) == 0.75


def pixels(kind: str, value: Any) -> np.ndarray:
    figure, axes = new_figure(1.5, 1.5)
    draw_signal(axes[0, 0], kind, value)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba()).copy()


CLOUD = np.random.default_rng(0).normal(size=(500, 3))


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("image", RAMP, RAMP[::-1]),
        ("points", CLOUD, CLOUD * [1, 1, 0.1]),
        ("points", torch.tensor(CLOUD, dtype=torch.float16), CLOUD[:3]),
        ("points", np.hstack([CLOUD, CLOUD]), np.hstack([CLOUD, -CLOUD])),
        (
            "points",
            np.hstack([CLOUD, np.ones((500, 3))]),
            np.hstack([CLOUD, np.eye(3)[np.arange(500) % 3] * 255]),
        ),
        ("series", np.sin(np.arange(300)), np.cos(np.arange(300))),
        ("series", torch.randn(3, 50), torch.randn(3, 50)),
        ("series", np.random.default_rng(1).normal(size=22050), np.zeros(22050)),
        ("series", np.random.default_rng(1).normal(size=(19, 40)), np.zeros((19, 40))),
        ("text", "a red cube", "a blue sphere " * 40),
        ("vector", [1, 2, 3], [3, 2, 1]),
    ],
)
def test_every_kind_draws_what_it_is_given(kind: str, one: Any, other: Any) -> None:
    first, again, different = pixels(kind, one), pixels(kind, one), pixels(kind, other)
    assert (first == again).all()
    assert (first != different).any()


def test_text_with_signs_of_a_formula_is_drawn_as_it_is() -> None:
    assert pixels("text", r"a broken $\frac{ $").any()  # as a formula it cannot be parsed
    assert (pixels("text", "costs $5 or $6") != pixels("text", "costs 5 or 6")).any()


@pytest.mark.parametrize(
    ("kind", "value", "error", "message"),
    [
        ("picture", RAMP, ConfigError, r"'picture'\) is not a kind of signal\. Known: image"),
        ("image", np.zeros(5), DataError, r"shape \(5,\)"),
        ("image", np.zeros((5, 5, 7)), DataError, r"\(5, 5, 7\)"),
        ("points", np.zeros((5, 2)), DataError, r"\(5, 2\)"),
        ("points", np.zeros((0, 3)), DataError, r"\(0, 3\)"),
        ("series", np.zeros((2, 3, 4)), DataError, r"\(2, 3, 4\)"),
        ("vector", [], DataError, "length 0"),
    ],
)
def test_what_cannot_be_drawn_says_so(kind: str, value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        pixels(kind, value)
