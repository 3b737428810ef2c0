"""The report: one self-contained HTML page (light and dark) that says first whether it worked, and `metrics.json`.

Note:
    Everything on the page comes from the run, names and captions included, so all text is escaped; the page loads
    nothing from anywhere, so that it can be mailed and opened years later. A sentence about success is made from
    verdicts (`evaluate.verdicts`) and from nothing else.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pairalign.core.errors import DataError
from pairalign.core.plain import plain as plain
from pairalign.evaluate.blocks import Card, Cards, Picture, Table, Text, Verdicts
from pairalign.evaluate.cells import markdown_table as markdown_table
from pairalign.evaluate.cells import plain_cell as plain_cell
from pairalign.evaluate.cells import text_table as text_table
from pairalign.evaluate.page_writer import render
from pairalign.evaluate.svg import data_uri
from pairalign.evaluate.svg import inline_svg as inline_svg
from pairalign.evaluate.thumbnails import thumbnail
from pairalign.evaluate.verdicts import MARKS, Verdict
from pairalign.files import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SYNTHETIC = "Synthetic data: every sample was drawn by a program. These scores say nothing about a real sensor."


class Symbol(NamedTuple):
    """A thumbnail that the page holds once, however often it is shown."""

    name: str
    uri: str
    size: tuple[int, int]


class Answer(NamedTuple):
    """The first sentence of a page. kind: good, bad, open."""

    text: str
    kind: str
    mark: str


class Signal(NamedTuple):
    """A signal to be shown. kind, value: as `draw_signal` takes them. mark: "right", "wrong", "query" or nothing."""

    kind: str
    value: Any
    label: str = ""
    told: str = ""
    mark: str = ""


@dataclass
class Section:
    """A heading, what stands below it, and whether that is unfolded."""

    heading: str
    open: bool
    blocks: list[Any] = field(default_factory=list)


class Report:
    """A page built from top to bottom: verdicts, then each `section` with its `paragraph`, `table`, `picture`,
    `cards`; then `write`."""

    def __init__(self, title: str, lead: str = "", *, synthetic: bool = False, note: str = "") -> None:
        """lead: one sentence under the title. synthetic: print the notice that the data are drawn by a
        program.

        note: a further notice at the top, such as a graph that is not connected.
        """
        self.title, self.lead = title, lead
        self.notes = [SYNTHETIC] * synthetic + [note] * bool(note)
        self.facts: list[tuple[str, str]] = []
        self.sections: list[Section] = []
        self.groups: list[Verdicts] = []
        self.answer: Answer | None = None
        self._symbols: dict[str, Symbol] = {}
        self._pictures = 0

    @property
    def headings(self) -> list[str]:
        """Of the sections, in order."""
        return [section.heading for section in self.sections]

    @property
    def symbols(self) -> list[Symbol]:
        """The thumbnails, each once."""
        return list(self._symbols.values())

    def fact(self, name: str, value: Any) -> Report:
        """A name and value in the strip under the verdicts: seed, commit, number of samples, time taken."""
        self.facts.append((name, str(value)))
        return self

    def answered(self, text: str, good: bool | None) -> Report:
        """Whether it worked, in one sentence that follows from verdicts; good: `None` where it is neither."""
        self.answer = Answer(text, {True: "good", False: "bad", None: "open"}[good], MARKS[good])
        return self

    def judged(self, heading: str, verdicts: Iterable[Verdict], rest: str = "") -> Report:
        """A group of verdicts on the first screen. rest: a sentence on what is not listed."""
        self.groups.append(Verdicts.of(heading, verdicts, rest))
        return self

    def verdicts(self, heading: str, verdicts: Iterable[Verdict], rest: str = "") -> Report:
        """A group of verdicts in a section."""
        return self._add(Verdicts.of(heading, verdicts, rest))

    def section(self, heading: str, text: str = "", *, unfolded: bool = False) -> Report:
        """Start a section; `text` is its first paragraph. Sections are folded, unless `unfolded`."""
        self.sections.append(Section(heading, unfolded))
        return self.paragraph(text) if text else self

    def paragraph(self, text: str) -> Report:
        """A paragraph of plain text; `words` in backticks are set as code."""
        return self._add(Text(text))

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[Any]], caption: str = "") -> Report:
        """A table. Cells are text, numbers, `None` (a dash) or a `Score`, drawn with interval and chance."""
        return self._add(Table.of(headers, rows, caption, self._heading()))

    def picture(self, figure: Figure, caption: str = "", alt: str = "") -> Report:
        """A matplotlib figure as inline SVG in the page's colours. alt: its figures in words, for a screen reader."""
        self._pictures += 1
        title = caption or self._heading()
        return self._add(Picture(inline_svg(figure), caption, title, alt, f"c{self._pictures}"))

    def cards(self, rows: Sequence[Sequence[Signal]], caption: str = "") -> Report:
        """Signals side by side, a row for each query; of a single row as many as fit."""
        return self._add(Cards([[self._card(signal) for signal in row] for row in rows], caption))

    def html(self) -> str:
        """The whole page."""
        return render("base.html", page=self)

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the page at once or not at all; returns its path."""
        return write_text(path, self.html())

    def _add(self, block: Any) -> Report:
        if not self.sections:
            raise DataError("a report's paragraphs, tables and pictures stand in a section: call section(…) first.")
        self.sections[-1].blocks.append(block)
        return self

    def _heading(self) -> str:
        return self.sections[-1].heading if self.sections else self.title

    def _card(self, signal: Signal) -> Card:
        drawn = thumbnail(signal.kind, signal.value)
        if drawn is None:
            return Card(str(signal.value), signal.label, signal.told, mark=signal.mark)
        uri = data_uri(drawn)
        symbol = self._symbols.setdefault(uri, Symbol(f"p{len(self._symbols)}", uri, drawn.size))
        told = signal.told or signal.label or signal.kind
        return Card("", signal.label, told, symbol.name, symbol.size, signal.mark)


def write_metrics(path: str | os.PathLike[str], metrics: Mapping[str, Any]) -> Path:
    """Write nested metrics as JSON, at once or not at all: keys sorted, NaN and infinity as null.

    Values may be numbers, text, tensors, arrays, `Score` and anything with `to_dict`.
    """
    return write_text(path, json.dumps(plain(metrics), indent=2, sort_keys=True, allow_nan=False) + "\n")
