"""Near duplicates between two sets of samples: candidates by their sketches, then a verdict on the values themselves.

A near duplicate is the same picture, cloud or recording stored again: re-encoded, resized, brightened, with noise,
reordered, turned, shifted in time.

Note:
    Of an image, a crop, turn or mirror image is not found; of two pictures of an unmoving scene one is found, and
    rightly, for they hold the same thing; of a recording, a copy whose end was cut off may be missed, the more so the
    more is gone (a twelfth: about half are missed); and of a surface, other points of it are missed in a quarter to a
    half of cases (`clouds`). What is found is a lower bound. Two things of one form are alike, too, so that only what
    holds the same raw values is `sure`: the same points, the same fine detail.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from pairalign.data.audit.clouds import same_points, surface_ratio
from pairalign.data.audit.pixels import contrasted, small_picture
from pairalign.data.audit.survey import Column, Survey
from pairalign.data.index import ModalityInfo
from pairalign.data.kinds import series_array

NEIGHBOURS = 3  # candidates for each sample
MOST = 20_000  # candidates that are read again
BLOCK = 1024
OVERLAP = 32  # numbers that two recordings must share

# What the same raw values leave apart: noise of half the spacing of points, of a fifth of a recording's amplitude.
SAME_POINTS, SAME_SERIES, SAME_DETAIL = 0.5, 0.02, 0.3
FINE = 128  # side of the pictures whose detail is compared

# How far apart two sketches may be, as a share of the mean distance between sketches of the modality.
_REACH = {"image": 0.35, "points": 0.30, "series": 0.60, "vector": 0.05}


class Pair(NamedTuple):
    """Rows of the two samples, and how far apart they are in the unit of their kind's verdict. sure: whether their raw
    values are the same, so that one is a copy of the other, and not only another of its form."""

    row: int
    other: int
    distance: float
    sure: bool = False


def near_duplicates(
    survey: Survey, column: Column, rows: np.ndarray, others: np.ndarray, *, progress: bool = False
) -> list[Pair]:
    """For each of `rows` the nearest of `others`, of another split, where the two are near duplicates."""
    if column.kind not in VERDICTS or "look" not in column.arrays or not len(rows) or not len(others):
        return []
    candidates = _candidates(_prepared(column), rows, others, _REACH[column.kind])[:MOST]
    differ, bound = VERDICTS[column.kind]
    spread = _spread(column)
    best: dict[int, Pair] = {}
    with tqdm(total=len(candidates), desc=f"compare {column.name}", disable=not progress, leave=False) as bar:
        for start in range(0, len(candidates), BLOCK):
            part = candidates[start : start + BLOCK]
            values = zip(*(_values(survey, column, part[:, side]) for side in (0, 1)), strict=True)
            for (row, other), (a, b) in zip(part.tolist(), values, strict=True):
                distance = differ(a, b, spread)
                if distance <= bound and distance < best.get(row, Pair(row, other, np.inf)).distance:
                    best[row] = Pair(row, other, distance)
                bar.update()
    return _rechecked(survey, column, [best[row] for row in sorted(best)])


def _rechecked(survey: Survey, column: Column, pairs: list[Pair]) -> list[Pair]:
    """The same, each with whether the raw values of the two are the same."""
    found: list[Pair] = []
    for start in range(0, len(pairs), BLOCK):
        part = pairs[start : start + BLOCK]
        table = np.array([[pair.row, pair.other] for pair in part])
        raw = zip(*(_fetched(survey, column, table[:, side]) for side in (0, 1)), strict=True)
        found += [p._replace(sure=_same(column, p, a, b)) for p, (a, b) in zip(part, raw, strict=True)]
    return found


def _same(column: Column, pair: Pair, a: Any, b: Any) -> bool:
    """Whether two raw values that are alike are one, stored again."""
    if column.kind == "points":
        return same_points(np.asarray(a, np.float64), np.asarray(b, np.float64)) <= SAME_POINTS
    if column.kind == "image":
        shared = shared_detail(small_picture(a, column.info, FINE), small_picture(b, column.info, FINE))
        return shared is None or shared >= SAME_DETAIL
    return pair.distance <= SAME_SERIES if column.kind == "series" else True


def _values(survey: Survey, column: Column, rows: np.ndarray) -> list[Any]:
    """What the verdict compares, of each row, each row read once."""
    return _fetched(survey, column, rows, lambda value: _prepare(value, column.kind, column.info))


def _fetched(
    survey: Survey, column: Column, rows: np.ndarray, prepare: Callable[[Any], Any] = lambda value: value
) -> list[Any]:
    distinct, inverse = np.unique(rows, return_inverse=True)
    prepared = [prepare(value) for value in survey.fetch(distinct, column.name)]
    return [prepared[i] for i in inverse]


def _prepare(value: Any, kind: str, info: ModalityInfo | None) -> np.ndarray:
    if kind == "image":
        return contrasted(value, small_picture(value, info, 32))
    return series_array(value, info) if kind == "series" else np.asarray(value, np.float64)


def _prepared(column: Column) -> np.ndarray:
    """Sketches to compare, as float32: pictures without their brightness and without what all have in common."""
    look = column.arrays["look"].astype(np.float32)
    if column.kind == "image":
        look = look - look.mean(1, keepdims=True)
    return look - look.mean(0)


def _spread(column: Column) -> float:
    """Root mean square difference of a sketch from the modality's mean sketch; of images in [0, 1]."""
    look = _prepared(column)
    return float(np.sqrt((look**2).mean())) / (255 if column.kind == "image" else 1) + 1e-9


def _candidates(look: np.ndarray, rows: np.ndarray, others: np.ndarray, reach: float) -> np.ndarray:
    """(M, 2) of row and other, nearest pairs first; block by block, so that no N × N table is ever held."""
    squares = (look**2).sum(1)
    bound = reach**2 * 2 * float(squares.mean())
    found: list[np.ndarray] = []
    for start in range(0, len(rows), BLOCK):
        mine = rows[start : start + BLOCK]
        near = np.full((len(mine), 0), np.inf, np.float32)
        at = np.zeros((len(mine), 0), np.int64)
        for begin in range(0, len(others), 8 * BLOCK):
            theirs = others[begin : begin + 8 * BLOCK]
            apart = squares[mine][:, None] + squares[theirs] - 2 * look[mine] @ look[theirs].T
            near = np.concatenate([near, apart], 1)
            at = np.concatenate([at, np.broadcast_to(theirs, apart.shape)], 1)
            keep = np.argsort(near, 1)[:, :NEIGHBOURS]
            near, at = np.take_along_axis(near, keep, 1), np.take_along_axis(at, keep, 1)
        found += [np.array([near[i, k], mine[i], at[i, k]]) for i, k in np.argwhere(near <= bound)]
    if not found:
        return np.zeros((0, 2), np.int64)
    table = np.stack(found)
    return table[np.argsort(table[:, 0], kind="stable"), 1:].astype(np.int64)


def picture_difference(a: np.ndarray, b: np.ndarray, spread: float) -> float:
    """Of two small pictures, after the best common gain and offset: the larger of the residual in quarters of the
    modality's spread, and its 99th percentile in 20 / 255. A copy is below 1 in both.
    """
    a, b = a - a.mean(), b - b.mean()
    if float((a**2).sum()) < float((b**2).sum()):
        a, b = b, a
    gain = float(np.clip((a * b).sum() / ((a**2).sum() + 1e-9), 0.7, 1.0))
    residual = np.abs(b - gain * a).max(-1)
    return max(float(np.sqrt((residual**2).mean())) / (0.25 * spread), float(np.quantile(residual, 0.99)) / (20 / 255))


def shared_detail(a: np.ndarray, b: np.ndarray) -> float | None:
    """Correlation of what two pictures (`FINE`, `FINE`, 3) hold beyond the 32 pixels that the verdict compares; nothing
    where one of them holds next to none."""
    details = []
    for picture in (a, b):
        coarse = picture.reshape(32, FINE // 32, 32, FINE // 32, 3).mean((1, 3))
        details.append(picture - np.kron(coarse, np.ones((FINE // 32, FINE // 32, 1))))
    norms = [float(np.sqrt((detail**2).mean())) for detail in details]
    if min(norms) < 1 / 255:
        return None
    return float((details[0] * details[1]).mean()) / (norms[0] * norms[1])


def series_difference(a: np.ndarray, b: np.ndarray, spread: float = 1.0) -> float:
    """1 minus the largest correlation of two recordings (C, T) over all shifts by up to half of their length.

    Overlaps of fewer than `OVERLAP` numbers do not count: any two short pieces are alike at some shift.
    """
    channels, size = min(len(a), len(b)), a.shape[1] + b.shape[1]
    a, b = (x[:channels] - x[:channels].mean(1, keepdims=True) for x in (a, b))
    product = np.fft.irfft(np.fft.rfft(a, size) * np.fft.rfft(b, size).conj(), size).sum(0)
    energy = [np.concatenate([[0.0], np.cumsum((x.astype(np.float64) ** 2).sum(0))]) for x in (a, b)]
    shift = np.arange(-(b.shape[1] // 2), a.shape[1] // 2 + 1)
    first, last = np.maximum(shift, 0), np.minimum(a.shape[1], b.shape[1] + shift)
    overlap = (energy[0][last] - energy[0][first]) * (energy[1][last - shift] - energy[1][first - shift])
    enough = last - first >= max(min(a.shape[1], b.shape[1]) / 2, OVERLAP / channels)
    return 1 - float((product[shift] / (np.sqrt(np.maximum(overlap, 0)) + 1e-9))[enough].max(initial=0.0))


def _vector_difference(a: np.ndarray, b: np.ndarray, spread: float) -> float:
    return float(np.sqrt(((a - b) ** 2).mean())) / spread if a.shape == b.shape else float("inf")


VERDICTS: dict[str, tuple[Callable[[np.ndarray, np.ndarray, float], float], float]] = {
    "image": (picture_difference, 1.0),
    "points": (lambda a, b, spread: surface_ratio(a, b), 1.15),
    "series": (series_difference, 0.1),
    "vector": (_vector_difference, 0.01),
}
