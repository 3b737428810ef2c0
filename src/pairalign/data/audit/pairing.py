"""Pairs that were made by class or object instead of by instance: one photo that stands beside every touch of it.

Note:
    Such pairs teach which class a sample is of, and nothing that differs within a class; and retrieval that accepts
    only a sample's own row is bounded by the number of distinct values, whatever the model.
"""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np

from pairalign.data.audit.findings import Finding
from pairalign.data.audit.survey import Column, Survey

_NAMES = ("label", "group", "session", "trajectory")
_MANY = 2  # samples a distinct value, and values of the other side for each, from which pairs are by class


def find(survey: Survey, seed: int = 0, progress: bool = False) -> tuple[list[Finding], Any]:
    """Findings, and by pair of modalities the samples that a value of the first serves."""
    findings: list[Finding] = []
    measures: dict[str, float] = {}
    told: set[str] = set()
    sides = [column for column in survey.columns.values() if column.kind != "text" and len(column.ids)]
    for shared, other in permutations(sides, 2):
        distinct, theirs = len(np.unique(shared.ids)), len(np.unique(other.ids))
        measures[f"{shared.name} beside {other.name}"] = round(len(shared.ids) / distinct, 2)
        if _MANY * distinct > min(len(shared.ids), theirs) or shared.name in told:
            continue
        name = _decided_by(survey, shared)
        if name is not None:
            told.add(shared.name)
            findings.append(_report(survey, shared, other, name, distinct, theirs))
    return findings, measures


def _decided_by(survey: Survey, column: Column) -> str | None:
    """The first label, grouping or text of several samples each that decides the value of all of them, or None."""
    factors = [name for name in survey.meta if name.startswith("label ")]
    named = {name: survey.meta[name] for name in (*_NAMES, *factors) if name in survey.meta}
    texts = {text.name: text.ids.tolist() for text in survey.columns.values() if text.kind == "text"}
    for name, values in {**named, **texts}.items():
        pairs = {(value, i) for value, i in zip(values, column.ids.tolist(), strict=True) if value is not None}
        kinds = len({value for value, _ in pairs})
        if 1 < kinds == len(pairs) <= len(values) / _MANY and None not in values:
            return name
    return None


def _report(survey: Survey, shared: Column, other: Column, name: str, distinct: int, theirs: int) -> Finding:
    n = len(survey.keys)
    message = (
        f"{n} samples share {distinct} values of {shared.name!r}, decided by {name!r}, beside {theirs} of "
        f"{other.name!r}: pairs are made by {name}, not by instance. They can teach which {name} a sample is of, and "
        f"nothing that differs within one; retrieval that accepts only a sample's own row cannot pass R@1 = "
        f"{distinct / n:.3f}. Measure it by {name}, and call the pairs what they are."
    )
    figures = {"modality": shared.name, "beside": other.name, "by": name, "distinct": distinct, "samples": n}
    return Finding("pairing", "warning", message, (), figures)
