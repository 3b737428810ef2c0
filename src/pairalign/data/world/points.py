"""The depth scanner: a point cloud of the whole surface, relief included.

Points are spread evenly over the bare shape, pushed along its normal onto the relief, turned about z, and
jittered. Unit metres; axes (x, y, z, nx, ny, nz), z up, the origin in the middle of the body; never
normalised, since the scale is the size. Sees shape, size and relief.
"""

from __future__ import annotations

import numpy as np

from pairalign.data.world.solids import Solid

Array = np.ndarray

NOISE = 2.5e-4  # metres


def render_points(
    shape: str, size: str, texture: str, rng: np.random.Generator, count: int = 256, normals: bool = True
) -> Array:
    """(count, 6) positions and unit normals, or (count, 3) positions, float32, metres."""
    solid = Solid(shape, size, texture)
    foot = _spread(solid, rng, count)
    foot = foot - solid.distance(foot) * solid.normal(foot, bare=True)  # onto the rounded edges
    out = solid.normal(foot, bare=True)
    p = foot + solid.relief(foot) * out
    for _ in range(3):
        p = p - np.float32(0.6) * solid.field(p) * out
    n = solid.normal(p)
    turn = rng.uniform(0, 2 * np.pi)
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]], np.float32)
    place = rotation @ p + rng.normal(0, NOISE, p.shape).astype(np.float32)
    cloud = np.concatenate([place, rotation @ n]) if normals else place
    return np.ascontiguousarray(cloud.T, np.float32)


def _spread(solid: Solid, rng: np.random.Generator, count: int) -> Array:
    """(3, count) points close to the bare shape, evenly by area."""
    wide, half = solid.wide, solid.half
    if solid.shape == "cube":
        return _spread_cube(half, rng, count)
    pick, s, turn = rng.random(count), rng.random(count), rng.uniform(0, 2 * np.pi, count)
    if solid.shape == "sphere":
        z = 2 * s - 1
        r, z = wide * np.sqrt(1 - z * z), wide * z
    elif solid.shape == "cylinder":
        side, top = pick < 2 * half / (2 * half + wide), rng.random(count) < 0.5
        r = np.where(side, wide, wide * np.sqrt(s))
        z = np.where(side, half * (2 * s - 1), np.where(top, half, -half))
    elif solid.shape == "cone":
        slant = np.hypot(wide, 2 * half)
        r = wide * np.sqrt(s)
        z = np.where(pick < slant / (slant + wide), half - 2 * half * np.sqrt(s), -half)
    else:
        angle = _ring_angles(wide, half, rng, count)
        r, z = wide + half * np.cos(angle), half * np.sin(angle)
    return np.stack([r * np.cos(turn), r * np.sin(turn), z]).astype(np.float32)


def _ring_angles(wide: float, half: float, rng: np.random.Generator, count: int) -> Array:
    """Angles about the tube, even by area: the outside of a ring is longer than the inside."""
    angles = rng.uniform(0, 2 * np.pi, 8 * count)
    kept = rng.random(8 * count) * (wide + half) < wide + half * np.cos(angles)
    return np.resize(angles[kept], count)


def _spread_cube(half: float, rng: np.random.Generator, count: int) -> Array:
    p = rng.uniform(-half, half, (3, count))
    face = rng.integers(0, 6, count)
    p[face % 3, np.arange(count)] = np.where(face < 3, half, -half)
    return p.astype(np.float32)
