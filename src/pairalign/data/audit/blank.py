"""Signals with nothing in them, or with their top cut off: constant, nearly blank, dead channels, clipped, damaged.

Note:
    "nearly blank" and "clipped" are judged against the other samples of the modality, because a white studio background
    or a quiet sensor is no fault when all samples have it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pairalign.data.audit.findings import Finding
from pairalign.data.audit.sketch import LEVELS
from pairalign.data.audit.survey import Column, Survey

FAINT = 0.05  # of the median spread
CLIPPED = {"image": 0.25, "series": 0.02}  # share of values at the end of the range
_LOW, _HIGH, _STD, _AT_LOW, _AT_HIGH, _DEAD = range(len(LEVELS))


def find(survey: Survey, seed: int = 0, progress: bool = False) -> tuple[list[Finding], Any]:
    """Findings, and by modality the range and spread of values."""
    findings = _damaged(survey)
    measures: dict[str, Any] = {}
    for column in survey.columns.values():
        levels = column.arrays.get("levels")
        if levels is None:
            continue
        measures[column.name] = {
            "low": float(levels[:, _LOW].min()),
            "high": float(levels[:, _HIGH].max()),
            "median spread": float(np.median(levels[:, _STD])),
        }
        findings += [*_blank(survey, column, levels), *_dead(survey, column, levels), *_clipped(survey, column, levels)]
    return findings, measures


def _damaged(survey: Survey) -> list[Finding]:
    """Samples that cannot be read, or hold NaN."""
    nan = [(key, reason) for key, reason in survey.bad if "NaN" in reason]
    rest = [bad for bad in survey.bad if bad not in nan]
    found = []
    for bad, what in ((nan, "hold NaN or infinity"), (rest, "cannot be read")):
        if bad:
            message = f"{len(bad)} samples {what}. First: {bad[0][0]}: {bad[0][1]} Repair or drop them."
            keys = tuple(key for key, _ in bad)
            found.append(Finding("blank", "error", message, keys, {"reasons": dict(bad[:1000])}))
    return found


def _blank(survey: Survey, column: Column, levels: np.ndarray) -> list[Finding]:
    spread, usual = levels[:, _STD], float(np.median(levels[:, _STD]))
    constant = levels[:, _LOW] == levels[:, _HIGH]
    if column.kind == "vector" and levels.shape[0] and column.arrays["look"].shape[1] == 1:
        constant &= False  # a single number is no signal
    faint = (spread < FAINT * usual) & ~constant
    found = []
    if constant.any():
        message = (
            f"{int(constant.sum())} values of {column.name!r} are constant: a dead sensor or an empty file. Drop them."
        )
        found.append(_report(survey, column, "error", message, constant))
    if faint.any():
        message = (
            f"{int(faint.sum())} values of {column.name!r} are nearly blank: they vary by less than {FAINT:.0%} of the "
            f"usual {usual:.3g}. Look at them; a contact that left no trace pairs noise with an image."
        )
        found.append(_report(survey, column, "warning", message, faint))
    return found


def _dead(survey: Survey, column: Column, levels: np.ndarray) -> list[Finding]:
    """Series with a channel that never moves; clouds that repeat half of their points or more."""
    dead = levels[:, _DEAD] > (0.5 if column.kind == "points" else 0)
    dead &= levels[:, _LOW] != levels[:, _HIGH]
    if column.kind not in ("series", "points") or not dead.any():
        return []
    what = "repeat half of their points or more" if column.kind == "points" else "have a channel that never moves"
    message = f"{int(dead.sum())} of {len(dead)} values of {column.name!r} {what}. Look at them."
    return [_report(survey, column, "note" if dead.all() else "warning", message, dead)]


def _clipped(survey: Survey, column: Column, levels: np.ndarray) -> list[Finding]:
    """Values piled up at the end of the range: an overdriven amplifier, a blown-out or black picture."""
    if column.kind not in CLIPPED:
        return []
    found = []
    for at, end in ((_AT_LOW, "lowest"), (_AT_HIGH, "highest")):
        share, bound = levels[:, at], CLIPPED[column.kind]
        usual = float(np.median(share))
        rows = share > max(bound, 3 * usual)
        if column.kind == "series":
            rows &= levels[:, _LOW if at == _AT_LOW else _HIGH] != 0
        if rows.any():
            message = (
                f"{int(rows.sum())} of {len(rows)} values of {column.name!r} are clipped: more than {bound:.0%} of a "
                f"value is the {end} there is, against {usual:.1%} usually. Check the gain or exposure."
            )
            found.append(_report(survey, column, "warning", message, rows))
    return found


def _report(survey: Survey, column: Column, severity: Any, message: str, chosen: np.ndarray) -> Finding:
    figures = {"modality": column.name, "samples": int(chosen.sum())}
    return Finding("blank", severity, message, survey.names(np.flatnonzero(chosen)), figures)
