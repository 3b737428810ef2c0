"""What was measured of a translation as one table in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pairalign.evaluate.report import markdown_table
from pairalign.evaluate.tables import Rows

PROBES = {"encoder": "the run's encoder", "numbers": "plain numbers"}


def factor_rows(record: Mapping[str, Any]) -> Rows:
    """A row for each factor and probe; a `Score` in every column."""
    columns = list(
        dict.fromkeys(c for f in record["factors"].values() for scores in f["scores"].values() for c in scores)
    )
    rows = []
    for name, found in record["factors"].items():
        ends = [m for m, can in found["seen_by"].items() if can]
        role = "both" if found["both"] else f"control: {'only ' + ends[0] if ends else 'neither'}"
        for probe, scores in found["scores"].items():
            rows.append([name, role, PROBES[probe], *(scores.get(column) for column in columns)])
    return ["factor", "seen by", "read by", *columns], rows


def distance_rows(record: Mapping[str, Any]) -> Rows:
    """Fréchet distance and squared error of each column, as far as they were measured."""
    distances = {} if "refused" in record["frechet"] else record["frechet"]
    columns = list(dict.fromkeys([*distances, *record["error"]]))
    rows = [[c, distances.get(c), record["error"].get(c)] for c in columns]
    return ["", "Fréchet distance to the partners", "squared error / of the mean"], rows


def markdown(record: Mapping[str, Any]) -> str:
    """The tables and what they mean."""
    gallery, rest = record["gallery"], record["rest"]
    lines = [
        f"# {record['from']} → {record['to']} through {record['through']}",
        "",
        f"Run `{record['run']}`, path {' → '.join(record['path'])}; {record['n']} held-out pairs; "
        f"{gallery['samples']} of {gallery['of']} true samples. {len(record['crossing_dimensions'])} shared dimensions "
        f"cross, as far as their gates are open; everything else is the {rest} of true samples.",
        "",
    ]
    if record["synthetic"]:
        lines += ["Synthetic data, drawn by a program.", ""]
    head, rows = factor_rows(record)
    lines += [*markdown_table(head, rows), "", _KEY, ""] if rows else [record["note"], ""]
    head, rows = distance_rows(record)
    lines += [*markdown_table(head, rows), ""] if rows else []
    if "refused" in record["frechet"]:
        lines += [f"No Fréchet distance: {record['frechet']['refused']}", ""]
    return "\n".join(lines)


_KEY = (
    "A cell is the share of right answers, its 95 % Wilson interval, and behind the slash its chance: what the same "
    "answers score when they are dealt out at random. The probe learnt from true samples alone. A control must be at "
    "chance in every column but those of true partners."
)
