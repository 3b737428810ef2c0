"""Samples that are there twice: the same bytes, or nearly the same value on both sides of a split; and, as a warning,
values that are alike without being the same.

Note:
    A duplicate across the split is a test question whose answer was in the training; a duplicate inside a split only
    counts twice. Texts are left to the check of captions, where repeats are normal.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from pairalign.data.audit.findings import Finding, Severity
from pairalign.data.audit.near import near_duplicates
from pairalign.data.audit.survey import Column, Survey

LISTED = 1000  # pairs spelt out in the figures


def find(survey: Survey, seed: int = 0, progress: bool = False) -> tuple[list[Finding], Any]:
    """Findings, and by modality the number of distinct values."""
    findings: list[Finding] = []
    distinct = {}
    for column in survey.columns.values():
        if column.kind == "text":
            continue
        distinct[column.name] = len(np.unique(column.ids))
        findings += _inside(survey, column)
        for a, b in combinations(range(len(survey.splits)), 2):
            findings += find_across(survey, column, a, b, progress)
    return findings, {"distinct values": distinct}


def _inside(survey: Survey, column: Column) -> list[Finding]:
    """Values stored several times in one split."""
    found = []
    for number, split in enumerate(survey.splits):
        rows = survey.rows_of(number)
        _, first, counts = np.unique(column.ids[rows], return_index=True, return_counts=True)
        again = np.setdiff1d(rows, rows[first])
        if len(again):
            message = (
                f"{len(again)} of {len(rows)} values of {column.name!r} in split {split!r} repeat another one byte for "
                f"byte ({int((counts > 1).sum())} values are there more than once, one of them {int(counts.max())} "
                "times). As negatives of each other they are false; the loss masks them by content."
            )
            figures = {"modality": column.name, "split": split, "repeats": len(again), "samples": len(rows)}
            found.append(Finding("duplicates", "note", message, survey.names(again), figures))
    return found


def find_across(survey: Survey, column: Column, a: int, b: int, progress: bool) -> list[Finding]:
    """Values of split `b` that are in split `a` too: exactly, then nearly among the rest."""
    base, held = survey.rows_of(a), survey.rows_of(b)
    first: dict[int, int] = {}
    for row in base.tolist():
        first.setdefault(int(column.ids[row]), row)
    exact = {row: first[int(column.ids[row])] for row in held.tolist() if int(column.ids[row]) in first}
    found = _report(survey, column, (a, b), exact, "exactly") if exact else []
    rest = held[[row not in exact for row in held.tolist()]]
    pairs = near_duplicates(survey, column, rest, base, progress=progress)
    for how, sure in (("nearly", True), ("alike", False)):
        some = [p for p in pairs if p.sure == sure]
        if some:
            distances = {p.row: round(p.distance, 4) for p in some}
            found += _report(survey, column, (a, b), {p.row: p.other for p in some}, how, distances)
    return found


def _report(
    survey: Survey,
    column: Column,
    splits: tuple[int, int],
    twins: dict[int, int],
    how: str,
    distances: dict[int, float] | None = None,
) -> list[Finding]:
    base, held = (survey.splits[number] for number in splits)
    total = len(survey.rows_of(splits[1]))
    sources = len(set(twins.values()))
    count = f"{len(twins)} of {total} values of {column.name!r} in split {held!r} ({len(twins) / total:.1%})"
    match = f"{sources} sample{'s' * (sources != 1)}"
    if how == "alike":
        message = (
            f"{count} look like {match} of split {base!r}, but their raw values are others: two things of one form, or "
            "one thing recorded twice. Look at some pairs; if they are one thing, give both one group and one side."
        )
    else:
        message = f"{count} are {how} in split {base!r} too, where they match {match}. Drop these samples from one side"
        message += (
            f", or split by {column.name!r} where one value is meant to serve many samples."
            if how == "exactly" and sources < len(twins)
            else ", and give scores with and without them."
        )
    listed = [
        [survey.keys[row], survey.keys[other], *([distances[row]] if distances else [])]
        for row, other in list(twins.items())[:LISTED]
    ]
    figures = {
        "modality": column.name,
        "splits": [base, held],
        "how": how,
        "samples": total,
        "duplicates": len(twins),
        "pairs": listed,
    }
    severity: Severity = "warning" if how == "alike" else "error"
    return [Finding("duplicates", severity, message, survey.names(list(twins)), figures)]
