"""A value of a table as text, and tables for a terminal and in Markdown; the page says the same figures.

Note:
    Interval and chance are part of a `Score` in every form; rounding never writes "-0.0".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pairalign.core.errors import DataError
from pairalign.evaluate.intervals import Score


def plain_cell(value: Any) -> str:
    """A cell as text: `0.93 [0.91, 0.95] / 0.05` of a `Score`, chance last."""
    if value is None:
        return "–"
    if isinstance(value, Score):
        chance = "" if value.chance is None else f" / {number(value.chance)}"
        return f"{number(value.value)} [{number(value.low)}, {number(value.high)}]{chance}"
    if isinstance(value, float):
        return f"{value:zg}" if abs(value) >= 1 and (2 * value).is_integer() else number(value)
    return str(value)


def number(value: float) -> str:
    """Three decimals below 10, fewer above, so that columns align: 0.930, 0.012, 12.5, 384."""
    if not math.isfinite(value):
        return "–"
    if 0 < abs(value) < 0.0005:
        return f"{value:.0e}"
    return f"{value:z.3f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 100 else f"{value:.0f}"


def text_table(headers: Sequence[str], rows: Sequence[Sequence[Any]], title: str = "") -> str:
    """The table for a terminal, aligned; a `Score` reads `0.93 [0.91, 0.95] / 0.05`, chance last."""
    check_table(headers, rows)
    cells = [[plain_cell(c) for c in row] for row in rows]
    widths = [max(len(h), *(len(row[i]) for row in cells), 0) for i, h in enumerate(headers)]
    right = [all(not isinstance(row[i], str) for row in rows) for i in range(len(headers))]

    def line(texts: Sequence[str]) -> str:
        pads = zip(texts, widths, right, strict=True)
        return "  ".join(t.rjust(w) if r else t.ljust(w) for t, w, r in pads).rstrip()

    rule = "  ".join("─" * w for w in widths)
    return "\n".join([*([title] if title else []), line(headers), rule, *(line(row) for row in cells)])


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """The table's lines in Markdown, cells as in `text_table`."""
    check_table(headers, rows)
    lines = [f"| {' | '.join(headers)} |", "|---" * len(headers) + "|"]
    return [*lines, *(f"| {' | '.join(map(plain_cell, row))} |" for row in rows)]


def check_table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Raise `DataError` for a row of another length than the headers."""
    for i, row in enumerate(rows):
        if len(row) != len(headers):
            raise DataError(f"table: row {i} has {len(row)} cells for {len(headers)} headers: give one cell each.")
