"""What stands on a page, one dataclass for each kind, each with the template that draws it.

Note:
    A block holds values and no HTML; its template escapes them. `Picture.svg` alone is markup, which matplotlib wrote
    and escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pairalign.evaluate.cells import check_table, number, plain_cell
from pairalign.evaluate.intervals import Score
from pairalign.evaluate.verdicts import AT, BELOW, Verdict, count_of, place


@dataclass(frozen=True)
class Text:
    """A paragraph; `words` in backticks are set as code."""

    template: ClassVar[str] = "text.html"
    text: str


@dataclass(frozen=True)
class Cell:
    """kind: sc (a score), num or txt. score: how a `Score` is drawn, else `None`."""

    kind: str
    label: str
    text: str = ""
    score: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Table:
    """heads: a kind and a text for each column. label: what a screen reader says first."""

    template: ClassVar[str] = "table.html"
    heads: Sequence[Cell]
    rows: Sequence[Sequence[Cell]]
    caption: str
    label: str

    @classmethod
    def of(cls, headers: Sequence[str], rows: Sequence[Sequence[Any]], caption: str, label: str) -> Table:
        """Cells are text, numbers, `None` (a dash) or a `Score`, drawn with interval and chance."""
        check_table(headers, rows)
        kinds = [_kind([row[i] for row in rows]) for i in range(len(headers))]
        heads = [Cell(kind, name, name) for kind, name in zip(kinds, headers, strict=True)]
        lines = [[_cell(head, value) for head, value in zip(heads, row, strict=True)] for row in rows]
        return cls(heads, lines, caption, label)


@dataclass(frozen=True)
class Picture:
    """A chart. title: what it is, for a screen reader; told: its figures in words."""

    template: ClassVar[str] = "picture.html"
    svg: str
    caption: str
    title: str
    told: str
    name: str


@dataclass(frozen=True)
class Card:
    """A signal and what stands below it. symbol: of the drawn thumbnail, `None` for a text. mark: "right", "query"."""

    text: str
    label: str
    told: str
    symbol: str | None = None
    size: tuple[int, int] = (1, 1)
    mark: str = ""


@dataclass(frozen=True)
class Cards:
    """Rows of signals; where there is one row, it breaks where the screen ends."""

    template: ClassVar[str] = "cards.html"
    rows: Sequence[Sequence[Card]]
    caption: str


@dataclass(frozen=True)
class Judged:
    """A row of verdicts: the verdict, and a cell for each column of its group."""

    verdict: Verdict
    cells: Sequence[Cell]


@dataclass(frozen=True)
class Verdicts:
    """A group of verdicts under a heading. columns: names of scores. rest: a sentence on what is not listed."""

    template: ClassVar[str] = "verdicts.html"
    heading: str
    columns: Sequence[str]
    rows: Sequence[Judged]
    rest: str

    @classmethod
    def of(cls, heading: str, verdicts: Iterable[Verdict], rest: str = "") -> Verdicts:
        """In the order of the verdicts."""
        listed = list(verdicts)
        columns = list(dict.fromkeys(name for verdict in listed for name in verdict.scores))
        rows = [Judged(v, [_cell(Cell("sc", name), v.scores.get(name)) for name in columns]) for v in listed]
        return cls(heading, columns, rows, rest)


def score_parts(score: Score) -> dict[str, Any]:
    """What of a score is drawn: value, interval and chance in figures, its place, and a bar within [0, 1]."""
    parts = [score.value, score.low, score.high] + ([] if score.chance is None else [score.chance])
    digits = [re.sub(r"^(-?)0\.", r"\1.", number(part)) for part in parts]
    word = place(score)
    chance = "" if score.chance is None else f"{'below ' if word == BELOW else ''}chance {digits[3]}"
    bar: dict[str, float | None] | None = None
    if all(0 <= part <= 1 for part in parts):
        bar = {"value": 100 * score.value, "low": 100 * score.low, "width": 100 * (score.high - score.low)}
        bar["chance"] = None if score.chance is None else 100 * score.chance
    return {
        "value": digits[0], "interval": f"{digits[1]}–{digits[2]}", "chance": chance, "told": told(score), "bar": bar,
        "class": {AT: "at", BELOW: "below"}.get(word or "", ""),
    }  # fmt: skip


def told(score: Score) -> str:
    """A score in words."""
    said = [number(score.value), f"95 % interval {number(score.low)} to {number(score.high)}"]
    said += [] if score.chance is None else [f"chance {number(score.chance)}"]
    word = place(score)
    return ", ".join([*said, count_of(score), *([word] if word else [])])


def _kind(column: Sequence[Any]) -> str:
    if any(isinstance(value, Score) for value in column):
        return "sc"
    return "num" if all(not isinstance(value, str) for value in column) else "txt"


def _cell(head: Cell, value: Any) -> Cell:
    if isinstance(value, Score):
        return Cell(head.kind, head.label, "", score_parts(value))
    return Cell(head.kind, head.label, plain_cell(value))
