"""What a conversion has flattened: numbers rounded to a few steps of float32, axes of one value, saturated pictures.

Seconds since 1970 in float32 stand still for 128 s, and a cloud at map coordinates keeps two or three levels of an
axis.

Note:
    Only values stored in float32 or less are called rounded, whose steps are as wide as their type's there; an axis
    that never varies may be meant (a planar scanner), so it is an error only where other clouds do vary along it; and a
    mask of black and white is saturated by nature.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pairalign.core.narrowing import LEVELS
from pairalign.data.audit.findings import Finding
from pairalign.data.audit.sketch import CONSTANT, ROUNDED
from pairalign.data.audit.survey import Column, Survey

SATURATED = 0.9  # share of a picture's values that are black or white
_AXES = "xyz"
_LOW, _HIGH, _AT_LOW, _AT_HIGH = 0, 1, 3, 4  # of a sketch's levels


def find(survey: Survey, seed: int = 0, progress: bool = False) -> tuple[list[Finding], Any]:
    """Findings, and nothing measured."""
    findings: list[Finding] = []
    for column in survey.columns.values():
        findings += [
            *_rounded(survey, column), *_standing(survey, column), *_flat(survey, column), *_saturated(survey, column),
        ]  # fmt: skip
    return findings, {}


def _rounded(survey: Survey, column: Column) -> list[Finding]:
    """Samples with a channel that float32 has left a few steps of."""
    if "flat" not in column.arrays:
        return []
    rows = np.flatnonzero((column.arrays["flat"] == ROUNDED).any(1))
    if not len(rows):
        return []
    message = (
        f"{len(rows)} of {len(column.kinds)} values of {column.name!r} are rounded to a few steps: they vary by less "
        f"than {LEVELS} steps of float32 at their size. Take an origin away (x - x[0]) in float64 and pack again."
    )
    return [_finding(survey, column, "error", message, rows)]


def _standing(survey: Survey, column: Column) -> list[Finding]:
    """Single numbers, such as time stamps, whose whole modality float32 has left a few steps of."""
    look = column.arrays.get("look")
    if column.kind != "vector" or look is None or look.shape[1] != 1 or len(look) < 2:
        return []
    if column.info is None or column.info.dtype not in ("float32", "float16"):
        return []
    low, high = float(look.min()), float(look.max())
    step = float(np.spacing(np.float32(max(abs(low), abs(high)))))
    distinct = len(np.unique(look))
    if distinct == len(look) or high - low >= LEVELS * step or (low == high and float(low).is_integer() and step <= 1):
        return []
    message = (
        f"{column.name!r} stands still: {len(look)} numbers from {low:.12g} to {high:.12g} have {distinct} different "
        f"values, because float32 keeps them to {step:g}. Pack again: numbers of a manifest are kept in full now."
    )
    return [_finding(survey, column, "error", message, np.arange(len(look)))]


def _flat(survey: Survey, column: Column) -> list[Finding]:
    """Clouds without extent along an axis."""
    flat = column.arrays.get("flat")
    if column.kind != "points" or flat is None:
        return []
    found = []
    for axis in range(min(3, flat.shape[1])):
        rows = np.flatnonzero(flat[:, axis] == CONSTANT)
        if not len(rows):
            continue
        every = len(rows) == len(flat)
        fix = "Is it a planar scanner? Else look at how they were made." if every else "Look at them."
        message = (
            f"{len(rows)} of {len(flat)} clouds of {column.name!r} are flat: their {_AXES[axis]} has one value. {fix}"
        )
        found.append(_finding(survey, column, "warning" if every else "error", message, rows))
    return found


def _saturated(survey: Survey, column: Column) -> list[Finding]:
    """Pictures of bytes that are nearly all black and white."""
    levels = column.arrays.get("levels")
    if column.kind != "image" or levels is None or (column.info and column.info.dtype not in (None, "uint8", "mixed")):
        return []
    ends = levels[:, _AT_LOW] + levels[:, _AT_HIGH]
    rows = np.flatnonzero((ends >= SATURATED) & (levels[:, _LOW] != levels[:, _HIGH]) & (levels[:, _HIGH] == 255))
    if not len(rows):
        return []
    message = (
        f"{len(rows)} of {len(levels)} pictures of {column.name!r} are saturated: {SATURATED:.0%} of their values or "
        "more are 0 or 255. Unless they are masks, they were made from deeper pictures by cutting off: pack the 16-bit "
        "or float originals."
    )
    return [_finding(survey, column, "error" if 2 * len(rows) > len(levels) else "warning", message, rows)]


def _finding(survey: Survey, column: Column, severity: Any, message: str, rows: np.ndarray) -> Finding:
    figures = {"modality": column.name, "samples": len(rows)}
    return Finding("rounded", severity, message, survey.names(rows), figures)
