"""Triangle meshes in the OFF format, and points drawn evenly over their surface, in plain numpy.

Source: the Object File Format; area-weighted sampling with square-root barycentric coordinates, Osada et al. 2002.

Note:
    Some files of ModelNet join the header and the counts in one line ("OFF490 518 0"), and that is read; faces of more
    than three corners are cut into a fan of triangles; comments are skipped, and colours of faces refused.

    trimesh reads the other formats of meshes (`pairalign.data.sources`), and not this one: it takes a file that was cut
    off, a face that lacks corners and numbers behind the last face, each in silence, it asks for no bound before it
    allocates, and it takes 3.5 times as long (82,000 triangles, median of 7 pairs).
"""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

import numpy as np

from pairalign.core.errors import DataError
from pairalign.core.limits import check, read_bytes


def read_off(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Vertices float64 (V, 3) and triangles int64 (F, 3); raise `DataError` for a damaged file."""
    return parse_off(read_bytes(path).decode("ascii", "replace"), path.name)


def parse_off(text: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The same of the text of a file, which errors call `name`."""
    check("mesh", len(text), name)
    if "#" in text:
        text = "\n".join(line.partition("#")[0] for line in text.splitlines())
    words = text.split()
    if not words or not words[0].startswith("OFF"):
        raise DataError(f"{name} is no OFF mesh: it must begin with OFF.")
    words = words[1:] if words[0] == "OFF" else [words[0][3:], *words[1:]]
    try:
        count, faces = int(words[0]), int(words[1])
        if count < 1 or faces < 1:
            raise ValueError(f"{count} vertices and {faces} faces")
        check("points", max(count, faces), name)
        vertices = np.array(words[3 : 3 + 3 * count], np.float64).reshape(count, 3)
        corners = np.array(words[3 + 3 * count :], np.int64)
        triangles = _fans(corners, faces)
    except (ValueError, IndexError, OverflowError) as error:
        raise DataError(f"{name}: the OFF mesh is damaged ({error}).") from error
    if not len(triangles) or not np.isfinite(vertices).all() or triangles.min() < 0 or triangles.max() >= count:
        raise DataError(f"{name}: the OFF mesh has no faces, or names vertices that do not exist.")
    return vertices, triangles


def _fans(corners: np.ndarray, faces: int) -> np.ndarray:
    if len(corners) == 4 * faces and bool((corners[::4] == 3).all()):
        return corners.reshape(faces, 4)[:, 1:]
    found: list[tuple[int, int, int]] = []
    place = 0
    for _ in range(faces):
        size = int(corners[place])
        ring = corners[place + 1 : place + 1 + size]
        if size < 3 or len(ring) != size:
            raise ValueError("a face lacks corners")
        found += [(int(ring[0]), int(ring[i]), int(ring[i + 1])) for i in range(1, size - 1)]
        place += 1 + size
    if place != len(corners):
        raise ValueError(f"{len(corners) - place} numbers are left behind the last face")
    return np.array(found, np.int64).reshape(-1, 3)


def sample_surface(vertices: np.ndarray, triangles: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Points (count, 3), evenly over the surface, as `narrowed` gives them; raise `DataError` for no area."""
    a, b, c = (vertices[triangles[:, corner]] for corner in range(3))
    areas = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    if not areas.sum() > 0:
        raise DataError("the mesh has no area.")
    draw = np.random.default_rng(seed)
    chosen = draw.choice(len(areas), count, p=areas / areas.sum())
    root, along = np.sqrt(draw.random((count, 1))), draw.random((count, 1))
    points = (1 - root) * a[chosen] + root * (1 - along) * b[chosen] + root * along * c[chosen]
    return narrowed(points)


def narrowed(points: np.ndarray) -> np.ndarray:
    """Points (N, ≥ 3) as float32, where that moves none by more than 1/10,000 of the largest distance from the middle;
    else, as at map coordinates, as they are.
    """
    narrow = points.astype(np.float32, copy=False)
    if points.dtype.itemsize <= 4 and points.dtype.kind == "f":
        return narrow
    place = points[:, :3].astype(np.float64)
    radius = np.linalg.norm(place - place.mean(0), axis=1).max()
    return points if np.abs(place - narrow[:, :3]).max() > 1e-4 * radius else narrow


def points_of_off(path: Path, count: int, normalise: bool = True) -> np.ndarray:
    """Points (count, 3) of an OFF file, as `centred` gives them; the draw follows from the file's name."""
    return centred(sample_surface(*read_off(path), count, seed=crc32(path.name.encode())), normalise)


def centred(points: np.ndarray, normalise: bool = True) -> np.ndarray:
    """Points (N, ≥ 3) moved to mean 0 and scaled to a largest distance of 1, float32; other columns stay.

    normalise: False leaves positions as they are, see `narrowed`, and only checks. Raise `DataError` for an array of
    another shape, values that are not finite, and points that all coincide.
    """
    points = np.asarray(points)
    if points.dtype.kind not in "biuf":
        raise DataError(f"points are of {points.dtype}: numbers are needed.")
    if points.ndim != 2 or points.shape[1] < 3 or not len(points):
        raise DataError(f"points have shape {points.shape}: (N, 3) or more columns are needed.")
    points = narrowed(points)
    if not np.isfinite(points).all():
        raise DataError(f"points: {int((~np.isfinite(points)).any(1).sum())} of {len(points)} are not finite.")
    place = points[:, :3] - points[:, :3].mean(0)
    largest = float(np.linalg.norm(place, axis=1).max())
    if not largest > 0 or not np.ptp(points[:, :3], axis=0).any():  # the mean of equal numbers is rounded, too
        raise DataError(f"points: all {len(points)} coincide.")
    moved = np.concatenate([place / largest, points[:, 3:]], 1).astype(np.float32)
    return moved if normalise else points
