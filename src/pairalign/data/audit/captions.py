"""How many captions are distinct, and what that does to retrieval.

Note:
    With D distinct captions among n samples, retrieval that accepts only a sample's own row reaches at most R@1 = D /
    n, however good the model; and a repeated caption is a false negative in a contrastive batch. Columns of questions
    and answers repeat by nature, and no pair is aligned by them: theirs are notes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pairalign.data.audit.findings import Finding
from pairalign.data.audit.survey import Column, Survey

_ASKED = {"question", "answer", "prompt", "instruction", "response"}
_EMPTY = {"", "nan", "none", "null", "n/a", "na", "unknown", "tbd", "-"}


def find(survey: Survey, seed: int = 0, progress: bool = False) -> tuple[list[Finding], Any]:
    """Findings, and by modality and split the counts."""
    findings: list[Finding] = []
    measures: dict[str, Any] = {}
    for column in survey.columns.values():
        if column.kind != "text" or not column.captions:
            continue
        findings += _placeholders(survey, column)
        for number, split in enumerate(survey.splits):
            rows = survey.rows_of(number)
            figures = _count(column, rows)
            measures[f"{column.name}, {split}"] = figures
            if figures["distinct"] < len(rows):
                findings.append(_repeats(survey, column, split, rows, figures))
    return findings, measures


def _count(column: Column, rows: np.ndarray) -> dict[str, Any]:
    ids, counts = np.unique(column.ids[rows], return_counts=True)
    top = np.argsort(-counts, kind="stable")[:3]
    return {
        "samples": len(rows),
        "distinct": len(ids),
        "highest recall@1 by row": round(len(ids) / max(len(rows), 1), 4),
        "most frequent": {column.captions[int(ids[i])]: int(counts[i]) for i in top},
    }


def _repeats(survey: Survey, column: Column, split: str, rows: np.ndarray, figures: dict[str, Any]) -> Finding:
    n, distinct = figures["samples"], figures["distinct"]
    caption, times = next(iter(figures["most frequent"].items()))
    message = (
        f"{n} captions of {column.name!r} in split {split!r} are {distinct} distinct ones; {caption!r} stands {times} "
        f"times. Retrieval that accepts only a sample's own row cannot pass R@1 = {distinct / n:.3f}: measure it aware "
        "of duplicates, and keep false negatives masked (loss.false_negatives)."
    )
    ids = column.ids[rows]
    _, inverse, counts = np.unique(ids, return_inverse=True, return_counts=True)
    keys = survey.names(rows[counts[inverse] > 1])
    figures = {"modality": column.name, "split": split, **figures}
    lying = distinct < n / 2 and column.name not in _ASKED
    return Finding("captions", "warning" if lying else "note", message, keys, figures)


def _placeholders(survey: Survey, column: Column) -> list[Finding]:
    empty = [i for i, text in column.captions.items() if text.strip().casefold() in _EMPTY]
    rows = np.flatnonzero(np.isin(column.ids, empty))
    if not len(rows):
        return []
    shown = sorted({column.captions[i] for i in empty})
    message = (
        f"{len(rows)} captions of {column.name!r} say nothing ({', '.join(map(repr, shown))}): drop these samples or "
        "write captions."
    )
    return [Finding("captions", "error", message, survey.names(rows), {"modality": column.name, "captions": shown})]
