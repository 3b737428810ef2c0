"""Texture as a height field: one function that the image, the point cloud and the gel sensor all render.

Heights are in metres around the bare surface, the pattern repeats every `PERIOD`, whatever the size of the
object, so that a touch on a patch says nothing about the whole.

Note:
    Patterns are given in cells (1 = one period) and vanish, or are continuous, at the cell's border, because the charts
    of round bodies shift whole rows of cells.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pairalign.data.world.chart import TAU
from pairalign.data.world.factors import FACTORS

Array = np.ndarray

PERIOD = 0.016
CELL = {"bumpy": 1.1, "gridded": 1.3}  # periods in a cell, where not 1
AMPLITUDE = 0.0018

_DIRECTIONS = np.array(
    [[0.81, 0.43, -0.40], [-0.30, 0.88, 0.37], [0.45, -0.25, 0.86], [-0.52, -0.60, 0.61]], np.float32
)


def height(texture: str, u: Array, v: Array, solid: Array) -> Array:
    """Height in metres at chart coordinates `u`, `v` (n,) in cells; `solid` (3, n) is in metres."""
    return AMPLITUDE * _PATTERNS[texture](u, v, solid)


def _smooth(u: Array, v: Array, solid: Array) -> Array:
    return np.zeros_like(u)


def _ridged(u: Array, v: Array, solid: Array) -> Array:
    return np.cos(np.float32(TAU) * v)


def _bumpy(u: Array, v: Array, solid: Array) -> Array:
    """A dome in the middle of each cell."""
    fu, fv = u - np.floor(u) - 0.5, v - np.floor(v) - 0.5
    dome = np.maximum(0.0, 1.0 - (fu * fu + fv * fv) / np.float32(0.13))
    return np.float32(2.4) * dome * np.sqrt(dome) - np.float32(0.6)


def _gridded(u: Array, v: Array, solid: Array) -> Array:
    """Flat plates between grooves along the borders of the cells."""
    du, dv = 0.5 - np.abs(u - np.floor(u) - 0.5), 0.5 - np.abs(v - np.floor(v) - 0.5)
    groove = np.maximum(0.0, 1.0 - np.minimum(du, dv) / np.float32(0.13))
    return np.float32(0.5) - np.float32(2.2) * groove * groove * (3.0 - 2.0 * groove)


def _rough(u: Array, v: Array, solid: Array) -> Array:
    """Irregular grain: a sum of waves in four directions, bent so that it never repeats."""
    a, b, c, d = (_DIRECTIONS @ solid) * np.float32(2.4 * TAU / PERIOD)
    bend = np.sin(np.float32(0.41) * (a + b))
    grain = np.sin(a + bend) + np.sin(b - bend + np.float32(1.3)) + np.sin(c + bend) + np.sin(d - bend)
    return np.float32(0.5) * grain


_PATTERNS: dict[str, Callable[[Array, Array, Array], Array]] = {
    "smooth": _smooth,
    "ridged": _ridged,
    "bumpy": _bumpy,
    "gridded": _gridded,
    "rough": _rough,
}
assert tuple(_PATTERNS) == FACTORS["texture"]
