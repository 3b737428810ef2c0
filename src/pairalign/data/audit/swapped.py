"""Samples whose two sides are exchanged: the touch is in the image column and the image in the touch column.

No pretrained network: a linear classifier learns from the data which column a value belongs to, cross-validated over
whole sessions, and its labels are turned round where it disagrees until nothing changes (self-training against label
noise). A sample is reported when *each* side is taken for the other column.

Note:
    The majority decides which way round is right, so for columns that are exchanged altogether the names must say which
    one is touch; and two columns of the same camera cannot be told apart, which is then measured and said, not guessed.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from pairalign.data.audit.findings import Finding
from pairalign.data.audit.pixels import ALIKE, COLOUR, CONTRAST
from pairalign.data.audit.survey import Column, Survey

LEAST = 20  # samples below which nothing is said
GAP = 0.3  # two kinds of pair: nearly all margins are wider than this share of the usual one
AGREE = 0.9  # share of pairs whose sides are taken for different columns
_FOLDS, _ROUNDS, _RIDGE = 8, 20, 1e-2


class Sides(NamedTuple):
    """What was learned of two columns: exchanged (N,) bool, whether they can be told apart, and the two measures of
    that, see GAP and AGREE.
    """

    exchanged: np.ndarray
    distinct: bool
    gap: float
    agreeing: float


def find(survey: Survey, seed: int = 0, progress: bool = False) -> tuple[list[Finding], Any]:
    """Findings, and for each pair of columns how well they can be told apart."""
    findings = [found for column in survey.columns.values() for found in _strangers(survey, column)]
    measures: dict[str, Any] = {}
    for a, b in combinations(survey.columns.values(), 2):
        if a.kind != b.kind or "cues" not in a.arrays or "cues" not in b.arrays or len(survey.keys) < LEAST:
            continue
        cues = np.stack([a.arrays["cues"], b.arrays["cues"]], 1)
        sides = exchanged_sides(cues, _folds(survey, cues, seed))
        contrary = sides.distinct and _contrary(a, b, cues, sides.exchanged)
        rows = np.flatnonzero(sides.exchanged != contrary) if sides.distinct else np.zeros(0, int)
        measures[f"{a.name}, {b.name}"] = {
            "told apart": sides.distinct,
            "gap": round(sides.gap, 3),
            "agreeing": round(sides.agreeing, 3),
        }
        if len(rows):
            findings.append(_report(survey, a, b, rows, contrary))
    return findings, measures


def exchanged_sides(cues: np.ndarray, folds: np.ndarray) -> Sides:
    """Which pairs of `cues` (N, 2, C) are the other way round than most; `folds` (N,) number the parts held out."""
    n = len(cues)
    flat = cues.reshape(2 * n, -1).astype(np.float64)
    flat = (flat - flat.mean(0)) / (flat.std(0) + 1e-6)
    sides = np.clip(flat, -6, 6).reshape(n, 2, -1)
    way = np.ones(n)
    for _ in range(_ROUNDS):
        scores = _held_out_scores(sides, way, folds)
        turned = np.where((scores[:, 0] < 0) & (scores[:, 1] > 0), -1.0, 1.0)
        if (turned == way).all():
            break
        way = turned
    margins = np.abs(scores[:, 0] - scores[:, 1])
    gap = float(np.quantile(margins, 0.05) / (np.median(margins) + 1e-9))
    agreeing = float((scores[:, 0] * scores[:, 1] < 0).mean())
    return Sides(way < 0, gap >= GAP and agreeing >= AGREE and float((way < 0).mean()) < 0.5, gap, agreeing)


def _held_out_scores(sides: np.ndarray, way: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """(N, 2) ridge scores, positive for the first column; each fold is scored by a fit to the others."""
    targets = np.stack([way, -way], 1)
    scores = np.zeros(targets.shape)
    for fold in np.unique(folds):
        rest, held = folds != fold, folds == fold
        x, y = sides[rest].reshape(-1, sides.shape[2]), targets[rest].ravel()
        weights = np.linalg.solve(x.T @ x + _RIDGE * len(x) * np.eye(x.shape[1]), x.T @ y)
        scores[held] = sides[held] @ weights
    return scores


def _folds(survey: Survey, cues: np.ndarray, seed: int) -> np.ndarray:
    """Whole sessions or groups together; without any, clusters of alike pairs, whichever way round they are."""
    for name in ("session", "group", "trajectory"):
        values = survey.meta.get(name)
        if values is not None and len(set(values)) >= 3:
            codes = np.unique([str(value) for value in values], return_inverse=True)[1]
            return codes if codes.max() < 2 * _FOLDS else codes % _FOLDS
    both = np.concatenate([cues.sum(1), np.abs(cues[:, 0] - cues[:, 1])], 1)
    return _clusters((both - both.mean(0)) / (both.std(0) + 1e-6), seed)


def _clusters(points: np.ndarray, seed: int) -> np.ndarray:
    """Lloyd's k-means, from rows drawn by `seed`."""
    centres = points[np.random.default_rng(seed).choice(len(points), min(_FOLDS, len(points)), replace=False)]
    for _ in range(10):
        near = ((centres**2).sum(1) - 2 * points @ centres.T).argmin(1)
        centres = np.stack(
            [points[near == k].mean(0) if (near == k).any() else centres[k] for k in range(len(centres))]
        )
    found: np.ndarray = near
    return found


def _contrary(a: Column, b: Column, cues: np.ndarray, exchanged: np.ndarray) -> bool:
    """Whether most samples contradict the names: the column called touch looks like a camera, the other like a gel."""
    if a.kind != "image" or a.tactile == b.tactile:
        return False
    straight = np.where(exchanged[:, None, None], cues[:, ::-1], cues)
    touch, photo = (straight[:, 0], straight[:, 1]) if a.tactile else (straight[:, 1], straight[:, 0])
    contrast, other_contrast = np.median(touch[:, CONTRAST]), np.median(photo[:, CONTRAST])
    alike, other_alike = np.median(touch[:, ALIKE]), np.median(photo[:, ALIKE])
    colour, other_colour = touch[:, COLOUR].std(0).mean(), photo[:, COLOUR].std(0).mean()
    against = [0.8 * contrast > other_contrast, alike > other_alike + 0.15, 0.8 * colour > other_colour]
    favour = [contrast < 0.8 * other_contrast, alike < other_alike - 0.15, colour < 0.8 * other_colour]
    return sum(against) >= 2 and not any(favour)


def _report(survey: Survey, a: Column, b: Column, rows: np.ndarray, contrary: bool) -> Finding:
    total = len(survey.keys)
    how = (
        f"by contrast, colour and light {a.name!r} holds what {b.name!r} should hold"
        if contrary
        else "each side is taken for the other column by a classifier that never saw it"
    )
    whole = _whole_groups(survey, rows)
    message = (
        f"{a.name!r} and {b.name!r} are exchanged in {'all' if len(rows) == total else len(rows)} of {total} samples"
        f"{' (' + whole + ')' if whole else ''}: {how}. Exchange the two columns for these keys and pack again."
    )
    figures = {"modalities": [a.name, b.name], "samples": len(rows), "share": round(len(rows) / total, 4)}
    return Finding("swapped", "error", message, survey.names(rows), figures)


def _whole_groups(survey: Survey, rows: np.ndarray) -> str:
    """Names of the groups that are exchanged as a whole."""
    for name in ("session", "group", "trajectory"):
        values = np.asarray(survey.meta.get(name, []), object)
        if len(values) and len(rows) < len(values):
            inside = set(values[rows]) - set(np.delete(values, rows)) - {None}
            if 0 < len(inside) <= 5 and np.isin(values[rows].astype(str), list(inside)).all():
                return f"all of {name} {', '.join(sorted(inside))}"
    return ""


def _strangers(survey: Survey, column: Column) -> list[Finding]:
    """Values whose very kind is another than that of the column."""
    rows = np.flatnonzero(column.kinds != column.kind)
    if not len(rows):
        return []
    others = sorted(set(column.kinds[rows].tolist()))
    message = (
        f"{len(rows)} of {len(survey.keys)} values of {column.name!r} are {' or '.join(others)}, where the column "
        f"holds {column.kind}: the columns of these samples are mixed up."
    )
    figures = {"modality": column.name, "kind": column.kind, "found": others}
    return [Finding("swapped", "error", message, survey.names(rows), figures)]
