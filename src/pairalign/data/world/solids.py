"""The bodies as distance fields: the one geometry behind the picture and the point cloud.

A body is the zero set of `field = distance to the bare shape - height of the relief`, so the relief really
lies in the surface. Source: sphere tracing of signed distances, Hart 1996 (doi:10.1007/s003710050084).
Lengths in metres, z up, the origin in the middle of the body.

Note:
    Away from the surface `distance` is only a lower bound, and relief reaches out of the bare shape by up to `HULL`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pairalign.data.world.chart import chart, cone_slope
from pairalign.data.world.relief import AMPLITUDE, CELL, PERIOD, height

Array = np.ndarray

RADIUS = {"small": 0.033, "medium": 0.041, "large": 0.051}
PROPORTIONS = {  # of the radius: (half width, half height); a ring has (centre line, tube)
    "sphere": (1.0, 1.0),
    "cube": (0.82, 0.82),
    "cylinder": (0.74, 0.95),
    "cone": (1.0, 0.95),
    "ring": (0.72, 0.44),
}
HULL = 2 * AMPLITUDE
_TETRAHEDRON = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], np.float32)


class Solid:
    """One body of a shape, a texture and a size (values of `FACTORS`).

    wide, half: half width and half height in metres; for a ring the radii of its centre line and of its tube.
    reach: radius in metres of a ball around the body, relief included.
    """

    def __init__(self, shape: str, size: str, texture: str) -> None:
        self.shape, self.texture, self.radius = shape, texture, RADIUS[size]
        self.wide, self.half = (self.radius * part for part in PROPORTIONS[shape])
        self.cell = PERIOD * CELL.get(texture, 1.0)
        corner = {"sphere": self.wide, "cube": self.wide * 3**0.5, "ring": self.wide + self.half}
        self.reach = corner.get(shape, float(np.hypot(self.wide, self.half))) + HULL
        self._bare = _DISTANCES[shape]

    def distance(self, p: Array) -> Array:
        """Signed distance (n,) of `p` (3, n) to the bare shape; a lower bound of it away from the surface."""
        return self._bare(self, p)

    def relief(self, p: Array) -> Array:
        """Height (n,) of the relief on the surface near `p` (3, n)."""
        if self.texture == "smooth":
            return np.zeros(p.shape[1], np.float32)
        return height(self.texture, *chart(self.shape, self.wide, self.half, self.cell, p), p)

    def field(self, p: Array) -> Array:
        """Signed distance (n,) to the surface with its relief, exact only to first order."""
        if self.texture == "smooth":
            return self.distance(p)
        return self.distance(p) - self.relief(p)

    def normal(self, p: Array, bare: bool = False, step: float = 4e-4) -> Array:
        """Unit normals (3, n) at `p` of the surface, or of the `bare` shape; `step` in metres."""
        total, value = np.zeros_like(p), self.distance if bare else self.field
        for corner in _TETRAHEDRON[:, :, None]:
            total += corner * value(p + np.float32(step) * corner)
        return total / np.maximum(length(total), 1e-12)


def length(p: Array) -> Array:
    """Euclidean length (n,) of the columns of `p` (3, n)."""
    return np.sqrt(np.einsum("in,in->n", p, p))


def _sphere(solid: Solid, p: Array) -> Array:
    return length(p) - np.float32(solid.wide)


def _cube(solid: Solid, p: Array) -> Array:
    x, y, z = np.abs(p) - np.float32(solid.half)
    return _inside(solid, x, y, z)


def _cylinder(solid: Solid, p: Array) -> Array:
    side = np.hypot(p[0], p[1]) - np.float32(solid.wide)
    return _inside(solid, side, np.abs(p[2]) - np.float32(solid.half))


def _cone(solid: Solid, p: Array) -> Array:
    across, along = cone_slope(solid.wide, solid.half)
    half = np.float32(solid.half)
    return _inside(solid, np.hypot(p[0], p[1]) * along + (p[2] - half) * across, -p[2] - half)


def _ring(solid: Solid, p: Array) -> Array:
    return np.hypot(np.hypot(p[0], p[1]) - np.float32(solid.wide), p[2]) - np.float32(solid.half)


def _inside(solid: Solid, first: Array, *others: Array) -> Array:
    """Intersection of half spaces, given the signed distance to each, with rounded edges."""
    rounding = np.float32(0.07 * solid.radius)
    deepest = first + rounding
    outside = np.maximum(deepest, 0) ** 2
    for other in others:
        shifted = other + rounding
        outside += np.maximum(shifted, 0) ** 2
        deepest = np.maximum(deepest, shifted)
    return np.sqrt(outside) + np.minimum(deepest, 0) - rounding


_DISTANCES: dict[str, Callable[[Solid, Array], Array]] = {
    "sphere": _sphere,
    "cube": _cube,
    "cylinder": _cylinder,
    "cone": _cone,
    "ring": _ring,
}
