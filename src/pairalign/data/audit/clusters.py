"""Few groups behind many samples: an interval over samples that are no independent evidence.

Note:
    Contacts with one object, or frames of one recording, are right or wrong together. Below about twenty groups even an
    interval over groups is too narrow (Cameron, Gelbach and Miller 2008), and nothing can be said of other groups.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pairalign.data.audit.findings import Finding
from pairalign.data.audit.groups import same_partition
from pairalign.data.audit.survey import GROUPINGS, Survey

FEW = 20  # groups
_SAMPLES = 2  # a group, on average, from which samples are counted as belonging together


def find(survey: Survey, seed: int = 0, progress: bool = False) -> tuple[list[Finding], Any]:
    """Findings for the splits that scores are taken on, and by grouping and split the number of groups."""
    findings: list[Finding] = []
    measures: dict[str, int] = {}
    seen: list[list[str | None]] = []
    for name in GROUPINGS:
        values = survey.meta.get(name)
        if values is None or any(same_partition(values, other) for other in seen):
            continue
        seen.append(values)
        for number, split in enumerate(survey.splits):
            rows = survey.rows_of(number)
            groups = {values[row] for row in rows} - {None}
            measures[f"{name}, {split}"] = len(groups)
            scored = number > 0 or len(survey.splits) == 1
            if scored and 0 < len(groups) < FEW and len(rows) >= _SAMPLES * len(groups):
                findings.append(_report(survey, name, split, rows, len(groups), len(set(values) - {None})))
    return findings, measures


def _report(survey: Survey, name: str, split: str, rows: np.ndarray, groups: int, every: int) -> Finding:
    message = (
        f"the {len(rows)} samples of split {split!r} are of {groups} {name}s ({every} in all splits): they are right "
        f"or wrong together, and count for less than {len(rows)} independent ones. Give intervals over {name}s, which "
        f"are too narrow still below {FEW}, and claim nothing for other {name}s than these."
    )
    figures = {"grouping": name, "split": split, "groups": groups, "in all splits": every, "samples": len(rows)}
    return Finding("clusters", "warning", message, (), figures)
