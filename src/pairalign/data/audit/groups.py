"""A group on both sides of a split: an object, session or trajectory that training has already seen.

Note:
    Frames of one recording differ less than any two recordings, so a split by frame measures memory. Where the group is
    the label itself, a split across it is a choice: it measures known objects, not new ones.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from pairalign.data.audit.findings import Finding
from pairalign.data.audit.survey import GROUPINGS, Survey


def find(survey: Survey, seed: int = 0, progress: bool = False) -> tuple[list[Finding], Any]:
    """Findings, and by grouping the number of groups."""
    findings: list[Finding] = []
    measures: dict[str, int] = {}
    seen: list[str] = []
    for name in GROUPINGS:
        values = survey.meta.get(name)
        if values is None or any(same_partition(values, survey.meta[other]) for other in seen):
            continue
        seen.append(name)
        measures[name] = len(set(values) - {None})
        for a, b in combinations(range(len(survey.splits)), 2):
            findings += _crossing(survey, name, np.asarray(values, object), a, b)
    return findings, measures


def _crossing(survey: Survey, name: str, values: np.ndarray, a: int, b: int) -> list[Finding]:
    base, held = survey.rows_of(a), survey.rows_of(b)
    both = (set(values[base]) & set(values[held])) - {None}
    if not both:
        return []
    rows = held[[value in both for value in values[held]]]
    labels = survey.meta.get("label")
    is_label = labels is not None and same_partition(list(values), labels)
    message = (
        f"{len(both)} of {len(set(values[held]) - {None})} values of {name!r} in split {survey.splits[b]!r} are in "
        f"split {survey.splits[a]!r} too, with {len(rows)} of {len(held)} samples: "
    )
    message += (
        f"{name!r} is the label here, so scores across this split are for known objects, not for new ones. Say so."
        if is_label
        else f"split by {name!r} (pack with a split by shares keeps groups whole)."
    )
    figures = {
        "grouping": name,
        "splits": [survey.splits[a], survey.splits[b]],
        "shared": sorted(both)[:1000],
        "groups": len(both),
        "samples": len(rows),
    }
    return [Finding("groups", "warning" if is_label else "error", message, survey.names(rows), figures)]


def same_partition(a: list[str | None], b: list[str | None]) -> bool:
    """Whether two columns of names divide the samples in the same way."""
    pairs = set(zip(a, b, strict=True))
    return len(pairs) == len(set(a)) == len(set(b))
