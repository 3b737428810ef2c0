"""Auditing shards: what would make a score a lie, found before training. One check a file.

`audit_pairs` reads every sample once and runs the checks on their sketches.

Note:
    A check can only say what the data shows; pairs that are misaligned row by row look healthy here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pairalign.core.arguments import checked
from pairalign.core.bounds import Count, Whole
from pairalign.core.errors import DataError, did_you_mean
from pairalign.data.audit import (
    across,
    blank,
    captions,
    clusters,
    duplicates,
    groups,
    leak,
    mistaken,
    pairing,
    rounded,
    swapped,
)
from pairalign.data.audit.findings import SEVERITIES, Audit, Finding, Severity
from pairalign.data.audit.survey import Survey, take_survey
from pairalign.data.place import Remote, find_place

__all__ = ["CHECKS", "SEVERITIES", "Audit", "Finding", "Severity", "audit_pairs", "audit_several"]

CHECKS: dict[str, Callable[[Survey, int, bool], tuple[list[Finding], Any]]] = {
    "duplicates": duplicates.find,
    "captions": captions.find,
    "swapped": swapped.find,
    "blank": blank.find,
    "mistaken": mistaken.find,
    "rounded": rounded.find,
    "groups": groups.find,
    "clusters": clusters.find,
    "pairing": pairing.find,
    "leak": leak.find,
}


@checked(DataError)
def audit_pairs(
    folder: str | Path | Remote,
    *,
    checks: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
    limit: Count | None = None,
    seed: Whole = 0,
    progress: bool = True,
) -> Audit:
    """Check a folder that `pack_pairs` wrote.

    checks: names in `CHECKS`; None runs all. splits: None takes all; "train" comes first, and is what the others are
    compared with. limit: most samples of each split. seed: of the probes' choice of samples.
    Raises `DataError` for an unknown check or split, a missing folder, a damaged shard; bad samples are a finding.
    """
    chosen = tuple(dict.fromkeys(checks or CHECKS))
    for name in chosen:
        if name not in CHECKS:
            raise DataError(f"check {name!r} is unknown.{did_you_mean(name, CHECKS)}")
    return _checked(_survey(folder, splits, limit, progress), chosen, seed, progress)


def audit_several(
    folders: Sequence[str | Path | Remote],
    *,
    limit: int | None = None,
    seed: int = 0,
    progress: bool = True,
    **options: Any,
) -> list[Audit]:
    """`audit_pairs` of each folder, and behind them what one trains on and another holds out; options: as there."""
    places = [find_place(folder) for folder in folders]
    if len({place.resolve() for place in places}) < len(places):
        raise DataError(f"audit of {', '.join(map(str, folders))}: name each folder once.")
    short = [place.name for place in places]
    names = short if len(set(short)) == len(short) else [str(place) for place in places]
    audits = [audit_pairs(place, limit=limit, seed=seed, progress=progress, **options) for place in places]
    surveys = [_survey(place, options.get("splits"), limit, progress) for place in places]
    found = across.find(surveys, names, progress)
    counts = {name: len(survey.keys) for name, survey in zip(names, surveys, strict=True)}
    kinds = {name: str(column.kind) for name, column in across.join(surveys, names).columns.items()}
    return [*audits, Audit(", ".join(names), counts, kinds, ("across",), tuple(found), {}, seed)]


def _survey(folder: str | Path | Remote, splits: Sequence[str] | None, limit: int | None, progress: bool) -> Survey:
    place = find_place(folder)
    survey = take_survey(place, splits=splits, limit=limit, progress=progress)
    if not survey.keys:
        raise DataError(f"{str(place)!r}: none of its {len(survey.bad)} samples can be read: pack the data again.")
    return survey


def _checked(survey: Survey, chosen: Sequence[str], seed: int, progress: bool) -> Audit:
    findings: list[Finding] = []
    measures: dict[str, Any] = {}
    for name in chosen:
        found, measures[name] = CHECKS[name](survey, seed, progress)
        findings += found
    counts = {split: len(survey.rows_of(number)) for number, split in enumerate(survey.splits)}
    kinds = {name: str(column.kind) for name, column in survey.columns.items()}
    return Audit(survey.folder.name, counts, kinds, tuple(chosen), tuple(findings), measures, seed)
