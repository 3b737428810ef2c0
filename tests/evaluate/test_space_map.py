"""The map: the plane is the one of most variance, and colours and markers mean what the legend says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from matplotlib.colors import to_hex

from pairalign.core.errors import ConfigError, DataError
from pairalign.data.draw import PALETTE
from pairalign.evaluate.space_map import UNSEEN, draw_map, project


def test_projection_holds_the_most_variance_of_any_plane() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 7, generator=generator)
    unit = F.normalize(x.double(), dim=1)
    plane = project(x)
    kept = float(plane.square().sum())
    largest = np.linalg.eigvalsh(np.cov(unit.numpy().T, bias=True) * 60)[-2:].sum()
    assert kept == pytest.approx(largest)
    for seed in range(5):
        basis = torch.linalg.qr(torch.randn(7, 2, generator=torch.Generator().manual_seed(seed)).double())[0]
        assert float(((unit - unit.mean(0)) @ basis).square().sum()) <= kept + 1e-9
    torch.testing.assert_close(project(-x).abs(), plane.abs())
    assert project(x[:, :1]).shape == (60, 2)


def test_panels_colour_by_factor_and_grey_what_cannot_be_seen() -> None:
    latents = {"image": torch.randn(6, 4), "touch": torch.randn(4, 4)}
    factors = {
        "colour": {"image": ["red", "blue"] * 3},
        "texture": {"image": list("aabbcc"), "touch": list("abca")},
    }
    figure = draw_map(latents, factors)
    colour, texture = figure.axes[:2]
    assert [colour.get_title(loc="left"), texture.get_title(loc="left")] == list(factors)
    image, touch = colour.collections
    assert {to_hex(c) for c in image.get_facecolor()} == {PALETTE[0], PALETTE[1]}
    assert {to_hex(c) for c in touch.get_facecolor()} == {UNSEEN}
    assert [len(c.get_offsets()) for c in texture.collections] == [6, 4]
    assert [t.get_text() for t in texture.get_legend().get_texts()] == ["a", "b", "c"]
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["image", "touch"]


def test_colours_follow_their_samples_under_a_limit() -> None:
    x = torch.cat([torch.eye(2)[:1].repeat(50, 1), torch.eye(2)[1:].repeat(50, 1)])
    figure = draw_map({"m": x}, {"side": {"m": torch.tensor([0] * 50 + [1] * 50)}}, limit=20)
    points = figure.axes[0].collections[0]
    sides = {
        (round(float(xy[0]), 3), to_hex(c)) for xy, c in zip(points.get_offsets(), points.get_facecolor(), strict=True)
    }
    assert len(points.get_offsets()) == 20
    assert len(sides) == 2


def test_bad_input_gives_one_clear_error() -> None:
    with pytest.raises(DataError, match="at least one modality"):
        draw_map({}, {"f": {}})
    with pytest.raises(ConfigError, match="2 labels for 'm'"):
        draw_map({"m": torch.randn(5, 3)}, {"f": {"m": ["a", "b"]}})
