"""How well a trivial probe names the label from what should know nothing of it: background, border, mean signal.

Source: the shortcut tests of Geirhos et al. 2020. Two probes that cannot understand anything, the nearest neighbour and
ridge regression, read 16 × 16 pictures.

Note:
    What they reach on a background is a session leak, and a score of a model on the raw signal proves nothing until it
    is far above it; what they reach on the raw signal is no fault, but it is the score to beat. Chance is the largest
    class among the test rows, not the share of a class.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from pairalign.data.audit.findings import Finding, Severity
from pairalign.data.audit.groups import same_partition
from pairalign.data.audit.sketch import PROBED
from pairalign.data.audit.survey import Column, Survey

LEAST = 20  # test rows
LEVEL = 0.95
RIDGE = 1e-3  # times the number of training rows
_TRAIN, _TEST = 6000, 2000


class Probe(NamedTuple):
    """Top-1 of both probes, the 95 % Wilson interval of the better, and what naming the largest class gives.

    right: rows named rightly by the better probe. across: trained on one split and tested on the others, else
    five-fold within the data.
    """

    modality: str
    view: str
    label: str
    nearest: float
    ridge: float
    low: float
    high: float
    chance: float
    n: int
    across: bool
    right: np.ndarray

    @property
    def best(self) -> float:
        """Top-1 of the better probe."""
        return max(self.nearest, self.ridge)

    def lift(self, tests: int) -> float:
        """Share of the way from chance to 1, 0 where it may be luck when so many probes are tried (Bonferroni)."""
        low, _ = wilson(round(self.best * self.n), self.n, 1 - (1 - LEVEL) / (2 * tests))
        return (self.best - self.chance) / (1 - self.chance) if low > self.chance < 1 else 0.0


def find(survey: Survey, seed: int = 0, progress: bool = False) -> tuple[list[Finding], Any]:
    """Findings, and every probe as a dict."""
    probes = [
        probe
        for column in survey.columns.values()
        for label, names in _labels(survey)
        for probe in _probe_all(survey, column, label, names, seed)
    ]
    findings = []
    for column in survey.columns.values():
        for label in dict.fromkeys(probe.label for probe in probes):
            mine = {p.view: p for p in probes if (p.modality, p.label) == (column.name, label)}
            findings += _judge(survey, column, mine, len(probes))
    return findings, [_plain(probe) for probe in probes]


def _labels(survey: Survey) -> Iterator[tuple[str, list[str | None]]]:
    """The label, or each of its factors, and the group where it divides the samples in another way."""
    seen: list[list[str | None]] = []
    for name, values in survey.meta.items():
        wanted = name.startswith("label") or name in ("group", "object")
        if wanted and not any(same_partition(values, other) for other in seen):
            seen.append(values)
            same = [n for n, v in survey.meta.items() if n != name and same_partition(values, v)]
            yield name + (f" (= {', '.join(same)})" if same else ""), values


def _probe_all(survey: Survey, column: Column, label: str, names: list[str | None], seed: int) -> Iterator[Probe]:
    """Every view that the modality has, on the same rows."""
    known = np.array([names[row] is not None for row in survey.probed], bool)
    codes = np.unique([str(names[row]) for row in survey.probed], return_inverse=True)[1]
    folds, across = _divide(survey.split[survey.probed], codes, known, seed)
    if not folds:
        return
    for view in PROBED:
        if view in column.arrays:
            yield _probe(column, view, label, codes, folds, across, survey.probed)


def _divide(
    split: np.ndarray, codes: np.ndarray, known: np.ndarray, seed: int
) -> tuple[list[tuple[np.ndarray, np.ndarray]], bool]:
    """(train, test) places: the first split against the others if they share classes, else five folds of them all.

    Classes that fewer than two training rows have are left out; nothing where less than two classes are left.
    """
    draw = np.random.default_rng(seed)
    train, test = np.flatnonzero(known & (split == 0)), np.flatnonzero(known & (split != 0))
    train, test = draw.permutation(train)[:_TRAIN], np.sort(draw.permutation(test)[:_TEST])
    shared = np.isin(test, test[np.isin(codes[test], _classes(codes[train]))])
    if len(test) >= LEAST and shared.mean() >= 0.5 and len(_classes(codes[train])) > 1:
        return [(train, test)], True
    rows = draw.permutation(np.flatnonzero(known))[:_TRAIN]
    rows = rows[np.isin(codes[rows], _classes(codes[rows], 5))]
    if len(rows) < LEAST or len(np.unique(codes[rows])) < 2:
        return [], False
    return [(np.delete(rows, np.s_[fold::5]), rows[fold::5]) for fold in range(5)], False


def _classes(codes: np.ndarray, least: int = 2) -> np.ndarray:
    classes, counts = np.unique(codes, return_counts=True)
    return classes[counts >= least]


def _probe(
    column: Column, view: str, label: str, codes: np.ndarray, folds: list[Any], across: bool, probed: np.ndarray
) -> Probe:
    values = column.arrays[view].astype(np.float32)
    rights: list[list[np.ndarray]] = [[], []]
    for train, test in folds:
        x, y = _standardised(values[train], values[test])
        for right, name in zip(rights, (name_by_nearest, name_by_ridge), strict=True):
            right.append(name(x, codes[train], y) == codes[test])
    held = np.concatenate([test for _, test in folds])
    right = [np.concatenate(parts) for parts in rights]
    nearest, ridge = (float(r.mean()) for r in right)
    low, high = wilson(int(max(nearest, ridge) * len(held) + 0.5), len(held), LEVEL)
    chance = float(np.bincount(codes[held]).max() / len(held))
    named = probed[held[right[int(ridge > nearest)]]]
    return Probe(column.name, view, label, nearest, ridge, low, high, chance, len(held), across, named)


def _standardised(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each number by its mean and spread in training; a spread of nearly nothing is not blown up."""
    mean, spread = train.mean(0), train.std(0)
    spread = spread + 1e-3 * float(train.std()) + 1e-9
    return (train - mean) / spread, (test - mean) / spread


def name_by_nearest(train: np.ndarray, codes: np.ndarray, test: np.ndarray) -> np.ndarray:
    """The class (M,) of the nearest row of `train` (N, D) for each row of `test` (M, D)."""
    square = (train**2).sum(1)
    parts = [codes[(square - 2 * test[i : i + 512] @ train.T).argmin(1)] for i in range(0, len(test), 512)]
    return np.concatenate(parts)


def name_by_ridge(train: np.ndarray, codes: np.ndarray, test: np.ndarray) -> np.ndarray:
    """The class (M,) with the largest ridge score; solved in the smaller of samples and dimensions."""
    classes, at = np.unique(codes, return_inverse=True)
    n, d = train.shape
    targets = np.eye(len(classes), dtype=np.float32)[at]
    targets = targets - targets.mean(0)
    penalty = RIDGE * n * d
    if d <= n:
        weights = np.linalg.solve(train.T @ train + penalty * np.eye(d, dtype=np.float32), train.T @ targets)
    else:
        weights = train.T @ np.linalg.solve(train @ train.T + penalty * np.eye(n, dtype=np.float32), targets)
    return np.asarray(classes[(test @ weights).argmax(1)])


def _judge(survey: Survey, column: Column, views: dict[str, Probe], tests: int) -> list[Finding]:
    """A finding where a view that should know nothing of the label names it."""
    for view, grave in (("background", True), ("border", False), ("mean", False)):
        probe = views.get(view)
        if probe is None or not _innocent(column, view, views):
            continue
        lift = probe.lift(tests)
        if lift >= (0.1 if grave else 0.3):
            severity: Severity = "error" if grave and lift >= 0.25 and probe.across else "warning"
            figures = {name: _plain(p) for name, p in views.items()}
            return [Finding("leak", severity, _message(probe, views), survey.names(probe.right), figures)]
    return []


def _innocent(column: Column, view: str, views: dict[str, Probe]) -> bool:
    """Whether a view should know nothing: of photos the border and the mean colour may well show the object."""
    if view == "background":
        return True
    if "background" in views:
        return False
    return column.tactile if column.kind == "image" else column.kind == "series" and view == "mean"


def _message(probe: Probe, views: dict[str, Probe]) -> str:
    what = {
        "background": f"the background of {probe.modality!r} alone, without any contact or event,",
        "border": f"the border of {probe.modality!r} alone, which a contact seldom reaches,",
        "mean": f"the mean signal of {probe.modality!r} alone",
    }[probe.view]
    rest = ", ".join(f"{name} {views[name].best:.1%}" for name in ("raw", "difference") if name in views)
    where = "test rows" if probe.across else "rows, five-fold within the data"
    fix = (
        "train on the difference to the background" if "difference" in views else "record a background and subtract it"
    )
    verdict = (
        "This is a session leak: a score on the raw signal proves nothing about what was sensed."
        if probe.view == "background"
        else "Unless the event shows there too, this is a session leak: a score proves nothing until it is far above."
    )
    return (
        f"{what} names {probe.label} in {probe.best:.1%} of {probe.n} {where} [{probe.low:.1%}, {probe.high:.1%}]; the "
        f"largest class is {probe.chance:.1%}; for comparison {rest}. {verdict} {fix[0].upper() + fix[1:]}, or take "
        "negatives of one session, and say which."
    )


def _plain(probe: Probe) -> dict[str, Any]:
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in probe._asdict().items() if k != "right"}


def wilson(successes: int, n: int, level: float) -> tuple[float, float]:
    """Score interval of a share (Wilson 1927)."""
    z = NormalDist().inv_cdf(0.5 + level / 2)
    p, scale = successes / n, 1 + z * z / n
    centre, half = (p + z * z / (2 * n)) / scale, z / scale * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    return max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half))
