"""Charts: where on the surface a point lies, in cells of the relief pattern.

A cube has a chart a face. Every other body is a surface of revolution, cut into rows of whole cells along its
profile; a row has as many cells as fit around it, like the rows of a maize cob.

Note:
    Cells of neighbouring rows are not aligned, so a pattern has to be continuous across the border of a row, whatever
    its `u`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Array = np.ndarray

TAU = 2.0 * np.pi


def chart(shape: str, wide: float, half: float, cell: float, p: Array) -> tuple[Array, Array]:
    """Coordinates `u` (around) and `v` (along), each (n,), of the surface near `p` (3, n), in cells.

    wide, half: half width and half height in metres, for a ring the radii of centre line and tube. cell:
    metres; actual cells differ a little from it, so that a whole number fits.
    """
    if shape == "cube":
        return _faces(half, cell, p)
    r, z = np.hypot(p[0], p[1]), p[2]
    turn = np.arctan2(p[1], p[0]) * np.float32(1 / TAU)
    if shape == "sphere":
        s = np.arctan2(r, z) * np.float32(wide)
        return _rows(cell, turn, s, np.pi * wide, lambda s: wide * np.sin(s / wide))
    if shape == "ring":
        s = (np.arctan2(z, r - np.float32(wide)) + np.float32(np.pi)) * np.float32(half)
        return _rows(cell, turn, s, TAU * half, lambda s: wide - half * np.cos(s / half))
    end = _rows(cell, turn, r, wide, lambda s: s)
    if shape == "cylinder":
        flat = np.abs(z) - np.float32(half) > r - np.float32(wide)
        side = _rows(cell, turn, z + np.float32(half), 2 * half, lambda s: np.full_like(s, wide))
    else:
        across, along = cone_slope(wide, half)
        flat = -z - np.float32(half) > r * along + (z - np.float32(half)) * across
        down = (np.float32(half) - z) / along
        side = _rows(cell, turn, down, float(np.hypot(wide, 2 * half)), lambda s: s * across)
    return np.where(flat, end[0], side[0]), np.where(flat, end[1], side[1])


def cone_slope(wide: float, half: float) -> tuple[np.float32, np.float32]:
    """Sine and cosine of the angle between the side of a cone and its axis."""
    slant = np.hypot(wide, 2 * half)
    return np.float32(wide / slant), np.float32(2 * half / slant)


def _faces(half: float, cell: float, p: Array) -> tuple[Array, Array]:
    count = max(2, round(2 * half / cell))
    cells = p * np.float32(count / (2 * half)) + np.float32(0.5 * count)
    size = np.abs(p)
    x = (size[0] >= size[1]) & (size[0] >= size[2])
    z = (size[2] > size[0]) & (size[2] > size[1])
    return np.where(x, cells[1], cells[0]), np.where(z, cells[1], cells[2])


def _rows(
    cell: float, turn: Array, s: Array, length: float, radius_at: Callable[[Array], Array]
) -> tuple[Array, Array]:
    """Cut a surface of revolution into rows of whole cells.

    turn: angle about the axis in turns. s: arc length along the profile, which is `length` long. radius_at:
    distance of the profile from the axis at an arc length.
    """
    count = max(1, round(length / cell))
    v = s * np.float32(count / length)
    middle = (np.arange(count) + 0.5) * (length / count)
    around = np.maximum(3, np.round(TAU * radius_at(middle) / cell)).astype(np.float32)
    return turn * around[np.clip(v.astype(np.int32), 0, count - 1)], v
