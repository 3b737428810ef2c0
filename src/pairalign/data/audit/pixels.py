"""Any image as a small RGB picture in [0, 1], and the cues that tell gel images from photos.

Note:
    Box filtering keeps means exact, so the difference of two small pictures is the small picture of the difference;
    16-bit and float images are scaled by the range that the index records.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pairalign.data.arrays import plain_array
from pairalign.data.index import ModalityInfo
from pairalign.data.picture import is_of_bytes, rgb_picture

SIDE = 64  # of the picture that cues are computed on
LOOK = 16  # of the picture that is kept
CONTRAST, ALIKE, COLOUR = 0, 2, slice(6, 9)  # places of the cues that differ between gel images and photos


def small_picture(value: Any, info: ModalityInfo | None = None, side: int = SIDE) -> np.ndarray:
    """(side, side, 3) float32 in [0, 1] of a PIL image or an array in any layout; of a stack, its last frame."""
    if is_of_bytes(value):
        from PIL import Image

        small = rgb_picture(value).resize((side, side), Image.Resampling.BOX)
        return np.asarray(small, np.float32) / 255
    array = plain_array(value)
    array = array[-1] if array.ndim == 4 else array
    if array.ndim == 3 and array.shape[0] in (1, 3, 4) and array.shape[2] not in (1, 3, 4):
        array = array.transpose(1, 2, 0)
    array = array[..., None] if array.ndim == 2 else array
    array = array[..., :3] if array.shape[-1] >= 3 else array[..., :1]
    return np.broadcast_to(_box(_to_unit(array, info), side), (side, side, 3)).astype(np.float32)


def _to_unit(array: np.ndarray, info: ModalityInfo | None) -> np.ndarray:
    if array.dtype == np.uint8:
        return array.astype(np.float32) / 255
    low, high = info.range if info is not None and info.range else (float(array.min()), float(array.max()))
    scaled: np.ndarray = (array.astype(np.float64) - low) / max(high - low, 1e-12)
    return scaled.astype(np.float32)


def _box(array: np.ndarray, side: int) -> np.ndarray:
    """Mean over side × side areas; an image smaller than that is repeated first."""
    for axis in (0, 1):
        if array.shape[axis] < side:
            array = np.repeat(array, -(-side // array.shape[axis]), axis)
        edges = np.linspace(0, array.shape[axis], side + 1).astype(int)
        sums = np.add.reduceat(array, edges[:-1], axis)
        array = sums / np.diff(edges).reshape([-1 if a == axis else 1 for a in range(3)])
    return array


def contrasted(value: Any, picture: np.ndarray) -> np.ndarray:
    """The small `picture` of `value`, stretched to its own 1st and 99th percentile unless it was made of bytes: in a
    range of 65,536 values all depth images would look alike.
    """
    if is_of_bytes(value) or getattr(value, "dtype", None) == np.uint8:
        return picture
    low, high = np.percentile(picture, [1, 99])
    stretched: np.ndarray = ((picture - low) / max(float(high - low), 1e-12)).clip(0, 1).astype(np.float32)
    return stretched


def shrink(picture: np.ndarray, side: int = LOOK) -> np.ndarray:
    """(side, side, 3) of a picture whose side is a multiple of it."""
    step = len(picture) // side
    return picture.reshape(side, step, side, step, 3).mean((1, 3))


def border(look: np.ndarray) -> np.ndarray:
    """The outermost eighth of a kept picture (16, 16, 3) on each side, flat: a contact seldom reaches it."""
    inside = np.zeros(look.shape[:2], bool)
    edge = len(look) // 8
    inside[edge:-edge, edge:-edge] = True
    return look[~inside].ravel()


def picture_cues(picture: np.ndarray) -> np.ndarray:
    """34 numbers about light, colour, contrast and fineness, whose meaning does not depend on the place.

    Three separate a gel from a camera by physics: contrast (a gel is evenly lit), mean colour (its lamps never change)
    and how alike its colour channels are across the picture (a gel is lit by lamps of other colours from other sides:
    near 0 or negative; a photo near 1).
    """
    planes = np.ascontiguousarray(picture.reshape(-1, 3).T)  # sums along the short axis are slow
    means, deviations = planes.mean(1), planes.std(1)
    grey = planes.mean(0).reshape(picture.shape[:2])
    centred = planes - means[:, None]
    norms = np.sqrt((centred**2).sum(1)) + 1e-3
    alike = [float(centred[i] @ centred[j] / (norms[i] * norms[j])) for i, j in ((0, 1), (0, 2), (1, 2))]
    low, q1, middle, q3, high = np.percentile(grey, [1, 25, 50, 75, 99])
    colour = planes.max(0) - planes.min(0)
    edge = border(shrink(picture)).reshape(-1, 3)
    numbers = [high - low, float(deviations.mean()), float(np.mean(alike)), *alike, *means, *deviations]
    numbers += [colour.mean(), colour.std(), low, q1, middle, q3, high, np.log(grey.std() + 1e-4)]
    numbers += [*(edge.mean(0) - means), *edge.std(0), *_fineness(grey)]
    return np.asarray(numbers, np.float32)


def _fineness(grey: np.ndarray) -> list[float]:
    """Log of the mean step between neighbours at four scales, along both axes."""
    found: list[float] = []
    for _ in range(4):
        found += [float(np.log(np.abs(np.diff(grey, axis=axis)).mean() + 1e-4)) for axis in (0, 1)]
        half = len(grey) // 2
        grey = grey.reshape(half, 2, half, 2).mean((1, 3))
    return found
