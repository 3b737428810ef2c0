"""Measurements as rows: the same for the terminal and for the report.

Note:
    A `Score` stays a `Score` in a cell, so that interval and chance are printed beside it everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pairalign.evaluate.cells import text_table
from pairalign.evaluate.intervals import Score
from pairalign.evaluate.probes import told
from pairalign.evaluate.verdicts import verdict_of

Rows = tuple[list[str], list[list[Any]]]


def tables(metrics: Mapping[str, Any]) -> list[str]:
    """The metrics as tables for the terminal, one per pool, then one per kind of measurement that was made."""
    found = []
    for name, record in metrics["pools"].items():
        found.append(text_table(*retrieval_rows(record), title=f"retrieval, {name} (n = {record['n']})"))
        for title, (head, rows) in (
            ("agreement of the nearest neighbour on factors", agreement_rows(record)),
            ("among the same group only", retrieval_rows(record, "retrieval_same_group")),
            ("zero-shot", zero_shot_rows(record)),
            (f"linear probes ({told(record)})", probe_rows(record)),
        ):
            if rows:
                found.append(text_table(head, rows, title=f"{title}, {name}"))
    return found


def retrieval_rows(record: Mapping[str, Any], kind: str = "retrieval") -> Rows:
    """R@1, 5, 10 and median rank of every pair in both directions."""
    rows = []
    for pair in record["pairs"].values():
        if kind in pair:
            a, b = pair["path"][0], pair["path"][-1]
            for ends, score in zip(((a, b), (b, a)), pair[kind], strict=True):
                recall = [score.recall.get(k) for k in (1, 5, 10)]
                rows.append([f"{ends[0]} → {ends[1]}", pair["status"], *recall, score.median_rank.value])
    return ["direction", "edge", "R@1 / chance", "R@5 / chance", "R@10 / chance", "median rank"], rows


def agreement_rows(record: Mapping[str, Any]) -> Rows:
    """Top-1 agreement on the factors that the path sees together, then on each control factor."""
    rows = []
    for pair in record["pairs"].values():
        found = pair.get("agreement", {})
        a, b = pair["path"][0], pair["path"][-1]
        entries = [(", ".join(found["factors"]), found["all"], "")] if "all" in found else []
        entries += [(f, found["each"][f], _control(found["each"][f])) for f in found.get("control", ())]
        rows += [
            [f"{a} – {b}", pair["status"], factors, score["forward"], score["backward"], note]
            for factors, score, note in entries
        ]
    return ["edge", "", "factors", "top-1 forward / chance", "top-1 backward / chance", ""], rows


def _control(scores: Mapping[str, Score]) -> str:
    """What a control says, by its worst direction: it should be at chance."""
    return f"control: {verdict_of('', 'control', '', scores).word}"


def zero_shot_rows(record: Mapping[str, Any]) -> Rows:
    """Top-1 and top-5 over samples, top-1 over classes."""
    rows = [
        [name, len(s.classes), s.overall[1], s.overall.get(5), s.class_mean[1], s.majority]
        for name, s in record.get("zero_shot", {}).items()
    ]
    return ["", "classes", "top-1 / chance", "top-5 / chance", "class mean / chance", "majority"], rows


def probe_rows(record: Mapping[str, Any]) -> Rows:
    """Linear-probe accuracy of every factor from each modality's shared and private part."""
    rows = []
    for modality, parts in record.get("probes", {}).items():
        factors = list(next(iter(parts.values())))
        for factor in factors:
            scores = [parts.get(part, {}).get(factor) for part in ("shared", "private")]
            rows.append([modality, factor, *(s.accuracy if s else None for s in scores)])
    return ["modality", "factor", "from shared / majority", "from private / majority"], rows
