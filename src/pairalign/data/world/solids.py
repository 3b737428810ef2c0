"""The bodies as distance fields with a chart: the one geometry behind the picture and the point cloud.

A body is the zero set of `field = distance to the bare shape - height of the relief`, so that relief really
lies in the surface. Source: sphere tracing of signed distances, Hart 1996 (doi:10.1007/s003710050084). All
lengths in metres, z up, the origin in the middle of the body. Where it bites: distances are lower bounds away
from the surface; tracing relies on that, and on the hull `2 * AMPLITUDE` around the bare shape.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pairalign.data.world.relief import PERIOD, TAU, height

Array = np.ndarray

RADIUS = {"small": 0.022, "medium": 0.032, "large": 0.046}
_TETRAHEDRON = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], np.float32)


class Solid:
    """One body: `shape` and `texture` are factor values, `radius` in metres is half its rough extent."""

    def __init__(self, shape: str, texture: str, radius: float) -> None:
        self.shape, self.texture, self.radius = shape, texture, radius
        self.rounding = np.float32(0.07 * radius)
        self.half_height = float(
            {"sphere": 1.0, "cube": 0.82, "cylinder": 0.95, "cone": 0.95, "ring": 0.36}[shape] * radius
        )

    def distance(self, p: Array) -> Array:
        """Signed distance (n,) of `p` (3, n) to the bare shape; a lower bound of it away from the surface."""
        return getattr(self, f"_{self.shape}")(p)

    def field(self, p: Array) -> Array:
        """Signed distance (n,) to the surface with its relief."""
        if self.texture == "smooth":
            return self.distance(p)
        u, v = self.chart(p)
        return self.distance(p) - height(self.texture, u, v, p)

    def normal(self, p: Array, step: float = 4e-4) -> Array:
        """Unit normals (3, n) of the surface at `p`, by differences over a tetrahedron of `step` metres."""
        total = np.zeros_like(p)
        for corner in _TETRAHEDRON:
            total += corner[:, None] * self.field(p + np.float32(step) * corner[:, None])
        return total / np.maximum(np.sqrt((total * total).sum(0)), 1e-12)

    def _sphere(self, p: Array) -> Array:
        return np.sqrt((p * p).sum(0)) - np.float32(self.radius)

    def _cube(self, p: Array) -> Array:
        return self._inside(*(np.abs(p) - np.float32(self.half_height)))

    def _cylinder(self, p: Array) -> Array:
        return self._inside(
            np.hypot(p[0], p[1]) - np.float32(0.74 * self.radius), np.abs(p[2]) - np.float32(self.half_height)
        )

    def _cone(self, p: Array) -> Array:
        across, along = self._cone_slope()
        side = np.hypot(p[0], p[1]) * along + (p[2] - np.float32(self.half_height)) * across
        return self._inside(side, -p[2] - np.float32(self.half_height))

    def _ring(self, p: Array) -> Array:
        wide, tube = self._ring_radii()
        return np.hypot(np.hypot(p[0], p[1]) - np.float32(wide), p[2]) - np.float32(tube)

    def _inside(self, *slabs: Array) -> Array:
        """Intersection of half spaces with rounded edges."""
        slabs = tuple(slab + self.rounding for slab in slabs)
        deepest = slabs[0]
        for slab in slabs[1:]:
            deepest = np.maximum(deepest, slab)
        outside = sum(np.maximum(slab, 0) ** 2 for slab in slabs)
        return np.sqrt(outside) + np.minimum(deepest, 0) - self.rounding

    def _cone_slope(self) -> tuple[np.float32, np.float32]:
        base, tall = self.radius, 2 * self.half_height
        slant = np.hypot(base, tall)
        return np.float32(base / slant), np.float32(tall / slant)

    def _ring_radii(self) -> tuple[float, float]:
        return 0.74 * self.radius, 0.36 * self.radius

    def chart(self, p: Array) -> tuple[Array, Array]:
        """Coordinates `u`, `v` (n,) of the surface near `p` in cells, each close to one `PERIOD`."""
        if self.shape == "cube":
            return self._chart_cube(p)
        r, z, a = np.hypot(p[0], p[1]), p[2], self.radius
        turn = np.arctan2(p[1], p[0]) * np.float32(1 / TAU)
        if self.shape == "sphere":
            return _rows(turn, np.arctan2(r, z) * np.float32(a), np.pi * a, lambda s: a * np.sin(s / a))
        if self.shape == "ring":
            wide, tube = self._ring_radii()
            angle = np.arctan2(z, r - np.float32(wide)) + np.float32(np.pi)
            return _rows(turn, angle * np.float32(tube), TAU * tube, lambda s: wide - tube * np.cos(s / tube))
        return self._chart_capped(turn, r, z)

    def _chart_capped(self, turn: Array, r: Array, z: Array) -> tuple[Array, Array]:
        """Cylinder and cone: rows around the side, concentric rows on the flat ends."""
        half = np.float32(self.half_height)
        if self.shape == "cylinder":
            edge = 0.74 * self.radius
            flat = np.abs(z) - half > r - np.float32(edge)
            side = _rows(turn, z + half, 2 * self.half_height, lambda s: np.full_like(s, edge))
        else:
            edge = self.radius
            across, along = self._cone_slope()
            flat = -z - half > r * along + (z - half) * across
            slant = np.hypot(edge, 2 * self.half_height)
            side = _rows(turn, (half - z) / along, slant, lambda s: s * across)
        ends = _rows(turn, r, edge, lambda s: s)
        return np.where(flat, ends[0], side[0]), np.where(flat, ends[1], side[1])

    def _chart_cube(self, p: Array) -> tuple[Array, Array]:
        width = 2 * self.half_height
        cells = p * np.float32(max(2, round(width / PERIOD)) / width) + np.float32(
            0.5 * max(2, round(width / PERIOD))
        )
        size = np.abs(p)
        x = (size[0] >= size[1]) & (size[0] >= size[2])
        z = (size[2] > size[0]) & (size[2] > size[1])
        return np.where(x, cells[1], cells[0]), np.where(z, cells[1], cells[2])


def _rows(turn: Array, s: Array, length: float, radius_at: Callable[[Array], Array]) -> tuple[Array, Array]:
    """Cut a surface of revolution into rows of whole cells.

    turn: angle about the axis in turns. s: arc length along the profile, which is `length` long. radius_at:
    distance of the profile from the axis at an arc length.
    """
    count = max(1, round(length / PERIOD))
    v = s * np.float32(count / length)
    middle = (np.arange(count) + 0.5) * (length / count)
    around = np.maximum(3, np.round(TAU * radius_at(middle) / PERIOD)).astype(np.float32)
    row = np.clip(v.astype(np.int32), 0, count - 1)
    return turn * around[row], v
