"""The depth scanner: a point cloud of the whole surface, relief included.

Points are spread evenly over the bare shape, pushed along its normal onto the relief, turned about z, and
jittered. Unit metres; axes (x, y, z, nx, ny, nz), z up, the origin in the middle of the body; never
normalised, since the scale is the size. Sees shape, size and relief.
"""

from __future__ import annotations

import numpy as np

from pairalign.data.world.solids import RADIUS, Solid

Array = np.ndarray

NOISE = 2.5e-4  # metres


def render_points(
    shape: str, size: str, texture: str, rng: np.random.Generator, count: int = 256, normals: bool = True
) -> Array:
    """(count, 6) positions and unit normals, or (count, 3) positions, float32, metres."""
    solid = Solid(shape, texture, RADIUS[size])
    p = _spread(solid, rng, count)
    for _ in range(5):
        p = p - np.float32(0.8) * solid.field(p) * _bare_normal(solid, p)
    n = solid.normal(p)
    turn = rng.uniform(0, 2 * np.pi)
    rotation = np.array(
        [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]], np.float32
    )
    place = rotation @ p + rng.normal(0, NOISE, p.shape).astype(np.float32)
    cloud = np.concatenate([place, rotation @ n]) if normals else place
    return np.ascontiguousarray(cloud.T, np.float32)


def _bare_normal(solid: Solid, p: Array) -> Array:
    step = np.float32(2e-4)
    axes = np.eye(3, dtype=np.float32)[:, :, None] * step
    slope = np.stack([solid.distance(p + axis) - solid.distance(p - axis) for axis in axes])
    return slope / np.maximum(np.sqrt((slope * slope).sum(0)), 1e-12)


def _spread(solid: Solid, rng: np.random.Generator, count: int) -> Array:
    """(3, count) points close to the bare shape, evenly by area."""
    a, h = solid.radius, solid.half_height
    pick, turn = rng.random(count), rng.uniform(0, 2 * np.pi, count)
    s, t = rng.random(count), rng.random(count)
    if solid.shape == "cube":
        return _spread_cube(h, rng, count)
    if solid.shape == "sphere":
        z = 2 * s - 1
        r, z = a * np.sqrt(1 - z * z), a * z
    elif solid.shape == "cylinder":
        edge = 0.74 * a
        side = pick < 2 * h / (2 * h + edge)
        r = np.where(side, edge, edge * np.sqrt(s))
        z = np.where(side, h * (2 * s - 1), np.where(t < 0.5, h, -h))
    elif solid.shape == "cone":
        slant = np.hypot(a, 2 * h)
        side = pick < slant / (slant + a)
        r = a * np.sqrt(s)
        z = np.where(side, h - 2 * h * np.sqrt(s), -h)
    else:
        r, z = _spread_ring(solid, rng, count)
    return np.stack([r * np.cos(turn), r * np.sin(turn), z]).astype(np.float32)


def _spread_ring(solid: Solid, rng: np.random.Generator, count: int) -> tuple[Array, Array]:
    """Profile points of the ring; the outside is longer than the inside, so draw four times and thin out."""
    wide, tube = solid._ring_radii()
    angle = rng.uniform(0, 2 * np.pi, 8 * count)
    kept = angle[rng.random(8 * count) * (wide + tube) < wide + tube * np.cos(angle)][:count]
    return wide + tube * np.cos(kept), tube * np.sin(kept)


def _spread_cube(half: float, rng: np.random.Generator, count: int) -> Array:
    p = rng.uniform(-half, half, (3, count))
    face = rng.integers(0, 6, count)
    p[face % 3, np.arange(count)] = np.where(face < 3, half, -half)
    return p.astype(np.float32)
