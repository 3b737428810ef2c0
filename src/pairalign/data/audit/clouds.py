"""Whether two point clouds are samples of the same surface, whatever their order, place, size and rotation.

Chamfer distance after alignment (24 axis rotations, 24 matches of principal axes, then ICP of Besl & McKay 1992),
divided by the cloud's own point spacing: the same points give about 0, two independent samples of one surface about 1
(median 1.05 of 2,048 points, 1.15 of 600), and another surface more.

Note:
    A bound near 1 misses many resampled surfaces, by chance or because an alignment failed, so that what it finds is a
    lower bound; a body with equal principal extents but no round symmetry, turned by an odd angle, may be missed; a
    mirror image is another surface.
"""

from __future__ import annotations

from functools import cache
from itertools import permutations, product

import numpy as np

_COARSE, _MIDDLE, _FINE = 128, 320, 1024  # points used to choose, refine and judge an alignment
_HOPELESS = 3.0
_TRIED, _STEPS = 3, 8


def surface_ratio(a: np.ndarray, b: np.ndarray) -> float:
    """Symmetric Chamfer distance of clouds (N, 3+) and (M, 3+) after alignment, in units of their point spacing."""
    a, b = _canonical(a), _canonical(b)
    n = min(len(a), len(b), _FINE)
    a, b = a[:n], b[:n]
    turn = _aligning(a, b)
    return float("inf") if turn is None else _chamfer(a, b @ turn.T) / max(spacing(a), spacing(b))


def same_points(a: np.ndarray, b: np.ndarray) -> float:
    """How far the points of one cloud lie from the nearest of the other's, in units of its point spacing: about 0 where
    one holds the other's points, moved, turned, scaled or reordered; about 1 of other points of one surface."""
    a, b = _canonical(a), _canonical(b)
    turn = _aligning(a[:_FINE], b[:_FINE])
    if turn is None:
        return float("inf")
    b = b @ turn.T
    ways = [float(np.sqrt(_squares(x[:_FINE], y).min(1)).mean()) / spacing(y[: 4 * _FINE]) for x, y in ((a, b), (b, a))]
    return min(ways)


def _aligning(a: np.ndarray, b: np.ndarray) -> np.ndarray | None:
    """The rotation that takes b nearest to a; nothing where none comes near."""
    turns = _turns(a, b)
    scores = np.array([_chamfer(a[:_COARSE], b[:_COARSE] @ turn.T) for turn in turns])
    if scores.min() > _HOPELESS * max(spacing(a[:_COARSE]), spacing(b[:_COARSE])):
        return None
    refined = [_refine(a, b, turns[i]) for i in np.argsort(scores)[:_TRIED]]
    return min(refined, key=lambda turn: _chamfer(a, b @ turn.T))


def spacing(cloud: np.ndarray) -> float:
    """Mean distance of a point to the nearest other one."""
    square = _squares(cloud, cloud)
    np.fill_diagonal(square, np.inf)
    return float(np.sqrt(square.min(1)).mean()) + 1e-9


def _canonical(cloud: np.ndarray) -> np.ndarray:
    """Distinct points in random but fixed order, centred, at root mean square radius 1."""
    places = np.asarray(cloud[:, :3], np.float64)
    xyz = np.unique((places - places.mean(0)).astype(np.float32), axis=0)
    xyz = np.random.default_rng(0).permutation(xyz)
    xyz = xyz - xyz.mean(0)
    scaled: np.ndarray = xyz / (np.sqrt((xyz**2).sum(1).mean()) + 1e-9)
    return scaled


@cache
def _axis_rotations() -> np.ndarray:
    """The 24 rotations that take axes to axes."""
    signs = [
        np.eye(3)[list(p)] * np.array(s)[:, None] for p in permutations(range(3)) for s in product((1, -1), repeat=3)
    ]
    return np.stack([turn for turn in signs if np.linalg.det(turn) > 0]).astype(np.float32)


def _turns(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(48, 3, 3) rotations that may take b to a: by axes, and by principal axes."""
    mine, theirs = (np.linalg.eigh(cloud.T @ cloud)[1] for cloud in (a, b))
    mine, theirs = (axes * np.sign(np.linalg.det(axes)) for axes in (mine, theirs))
    return np.concatenate([_axis_rotations(), mine @ _axis_rotations() @ theirs.T])


def _refine(a: np.ndarray, b: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Iterate: match each point of a part of `a` to its nearest of `b`, then take the best rotation (Kabsch 1976)."""
    part, whole = a[:_MIDDLE], b[: 2 * _MIDDLE]
    for _ in range(_STEPS):
        near = whole[_squares(part, whole @ turn.T).argmin(1)]
        left, _, right = np.linalg.svd(part.T @ near)
        turn = left @ np.diag([1, 1, np.linalg.det(left @ right)]).astype(np.float32) @ right
    return turn


def _chamfer(a: np.ndarray, b: np.ndarray) -> float:
    square = _squares(a, b)
    return float(max(np.sqrt(square.min(0)).mean(), np.sqrt(square.min(1)).mean()))


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    square: np.ndarray = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return np.maximum(square, 0)
