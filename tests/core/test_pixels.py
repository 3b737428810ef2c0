from __future__ import annotations

import itertools
from typing import Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from pairalign.core.pixels import change_light, random_shift, resize_pixels, scale_bytes, shift_pixels


def pixels(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_a_shift_is_a_crop_of_the_picture_with_its_edge_repeated() -> None:
    value = pixels(2, 3, 9, 7)
    padded = F.pad(value.float(), (4,) * 4, mode="replicate")
    for down, right in itertools.product(range(-4, 5), repeat=2):
        moved = shift_pixels(value, down, right)
        assert moved.dtype == torch.uint8
        assert moved.float().equal(padded[..., 4 - down : 13 - down, 4 - right : 11 - right])


def test_light_changes_by_channel_and_saturates() -> None:
    value = pixels(2, 3, 5, 5)
    changed = change_light(value, 1.125, (4.0, -60.25, 200.0))
    exact = value.float() * 1.125 + torch.tensor([4.0, -60.25, 200.0])[:, None, None]
    assert changed.float().equal(exact.round().clamp(0, 255))
    assert changed.min() == 0
    assert changed.max() == 255
    assert value.equal(pixels(2, 3, 5, 5))  # what was read stays
    one = change_light(value, 2.0, (0.0, None, 0.0))
    assert one[:, 1].equal(value[:, 1])
    assert not one[:, 2].equal(value[:, 2])


@pytest.mark.parametrize(("method", "pillow"), [("bilinear", 2), ("bicubic", 3)])
@pytest.mark.parametrize("size", [(24, 40), (90, 70), (120, 130)])
def test_pictures_are_resized_as_pillow_does_but_for_rounding(
    method: Literal["bilinear", "bicubic"], pillow: int, size: tuple[int, int]
) -> None:
    picture = Image.fromarray(pixels(90, 70, 3).numpy())
    ours = resize_pixels(picture, size, method)
    theirs = torch.from_numpy(np.array(picture.resize(size[::-1], Image.Resampling(pillow)))).permute(2, 0, 1)
    off = (ours.int() - theirs.int()).abs()
    assert off.max() <= 2
    assert (off > 0).float().mean() < 0.2


def test_a_random_shift_reaches_every_place_up_to_its_share() -> None:
    found = {random_shift(torch.Generator().manual_seed(seed), 32, 0.06) for seed in range(400)}
    assert found == set(itertools.product(range(-2, 3), repeat=2))


def test_bytes_become_floats_and_floats_stay() -> None:
    value, mean, std = pixels(2, 3, 4, 4), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    assert scale_bytes(value).equal(value.float() / 255)
    by_channel = [part.view(-1, 1, 1) for part in (torch.tensor(mean), torch.tensor(std))]
    assert scale_bytes(value, mean, std).equal((value.float() / 255 - by_channel[0]) / by_channel[1])
    given = torch.rand(2, 3, 4, 4)
    assert scale_bytes(given, mean, std) is given
