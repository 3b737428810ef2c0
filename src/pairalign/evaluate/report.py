"""The report: one self-contained HTML page (light and dark), the same tables as plain text, and
`metrics.json`.

Where it bites: everything on the page comes from the run, names and captions included, so all text is
escaped; the page loads nothing from anywhere, so that it can be mailed and opened years later.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairalign.core.errors import DataError
from pairalign.core.plain import plain as plain
from pairalign.data.draw import INK, LINE, MUTED
from pairalign.evaluate.intervals import Score
from pairalign.files import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SYNTHETIC = (
    "Synthetic data: every sample was drawn by a program with known factors. These scores show that the "
    "method works as intended; they say nothing about a real sensor."
)


class Report:
    """A page built from top to bottom: `section`, its `paragraph`, `table` and `picture`, then `write`."""

    def __init__(self, title: str, lead: str = "", *, synthetic: bool = False, note: str = "") -> None:
        """lead: one sentence under the title. synthetic: print the notice that the data are drawn by a
        program.

        note: a further notice at the top, such as a graph that is not connected.
        """
        self.title, self.lead = title, lead
        self.notes = [SYNTHETIC] * synthetic + [note] * bool(note)
        self.facts: list[tuple[str, str]] = []
        self.headings: list[str] = []
        self._body: list[str] = []

    def fact(self, name: str, value: Any) -> Report:
        """A name and value in the strip under the title: seed, commit, number of samples, time taken."""
        self.facts.append((name, str(value)))
        return self

    def section(self, heading: str, text: str = "") -> Report:
        """Start a section; `text` is its first paragraph."""
        if self.headings:
            self._body.append("</section>")
        self.headings.append(heading)
        self._body.append(f'<section id="s{len(self.headings)}"><h2>{_inline(heading)}</h2>')
        return self.paragraph(text) if text else self

    def paragraph(self, text: str) -> Report:
        """A paragraph of plain text; `words` in backticks are set as code."""
        self._body.append(f"<p>{_inline(text)}</p>")
        return self

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[Any]], caption: str = "") -> Report:
        """A table. Cells are text, numbers, `None` (a dash) or a `Score`, drawn with interval and chance."""
        _check_table(headers, rows)
        numeric = [all(not isinstance(row[i], str) for row in rows) for i in range(len(headers))]
        scored = [any(isinstance(row[i], Score) for row in rows) for i in range(len(headers))]
        kind = ["sc" if s else "num" if n else "txt" for n, s in zip(numeric, scored, strict=True)]
        head = "".join(f'<th class="{k}">{_inline(h)}</th>' for k, h in zip(kind, headers, strict=True))
        lines = ["".join(f'<td class="{k}">{_cell(c)}</td>' for k, c in zip(kind, row, strict=True)) for row in rows]
        body = "".join(f"<tr>{line}</tr>" for line in lines)
        note = f"<figcaption>{_inline(caption)}</figcaption>" if caption else ""
        self._body.append(
            f'<figure class="table"><div class="scroll"><table><thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>{note}</figure>"
        )
        return self

    def picture(self, figure: Figure, caption: str = "", alt: str = "") -> Report:
        """A matplotlib figure as inline SVG in the page's colours. alt: its content, for a screen reader."""
        label = escape(alt or caption or "figure", quote=True)
        note = f"<figcaption>{_inline(caption)}</figcaption>" if caption else ""
        self._body.append(
            f'<figure><div class="scroll" role="img" aria-label="{label}">{inline_svg(figure)}</div>{note}</figure>'
        )
        return self

    def html(self) -> str:
        """The whole page."""
        links = "".join(f'<a href="#s{i}">{_inline(h)}</a>' for i, h in enumerate(self.headings, 1))
        facts = "".join(f"<div><dt>{_inline(n)}</dt><dd>{_inline(v)}</dd></div>" for n, v in self.facts)
        style = files("pairalign.evaluate").joinpath("report.css").read_text("utf-8")
        return "\n".join(
            [
                '<!doctype html><html lang="en"><head><meta charset="utf-8">',
                '<meta name="viewport" content="width=device-width, initial-scale=1">',
                '<meta name="color-scheme" content="light dark">',
                f"<title>{escape(self.title)}</title><style>{style}</style></head><body><main>",
                f'<header><p class="eyebrow">pairalign report</p><h1>{_inline(self.title)}</h1>',
                f'<p class="lead">{_inline(self.lead)}</p>' if self.lead else "",
                *(f'<p class="note">{_inline(note)}</p>' for note in self.notes),
                f"<dl>{facts}</dl>" if facts else "",
                f"<nav>{links}</nav>" if len(self.headings) > 2 else "",
                "</header>",
                *self._body,
                "</section>" if self.headings else "",
                "</main></body></html>",
            ]
        )

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the page at once or not at all; returns its path."""
        return write_text(path, self.html())


def write_metrics(path: str | os.PathLike[str], metrics: Mapping[str, Any]) -> Path:
    """Write nested metrics as JSON, at once or not at all: keys sorted, NaN and infinity as null.

    Values may be numbers, text, tensors, arrays, `Score` and anything with `to_dict`.
    """
    return write_text(path, json.dumps(plain(metrics), indent=2, sort_keys=True, allow_nan=False) + "\n")


def text_table(headers: Sequence[str], rows: Sequence[Sequence[Any]], title: str = "") -> str:
    """The table for a terminal, aligned; a `Score` reads `0.93 [0.91, 0.95] / 0.05`, chance last."""
    _check_table(headers, rows)
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
    _check_table(headers, rows)
    lines = [f"| {' | '.join(headers)} |", "|---" * len(headers) + "|"]
    return [*lines, *(f"| {' | '.join(map(plain_cell, row))} |" for row in rows)]


def inline_svg(figure: Figure) -> str:
    """The figure as an SVG element of an HTML page: text as text, ink in the page's colours."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "pairalign"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = re.sub(r"^.*?(?=<svg)", "", buffer.getvalue(), flags=re.S)
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.S)
    svg = re.sub(r'\s(xmlns(:\w+)?|version)="[^"]*"', "", svg)
    svg = re.sub(
        r'(<svg\b[^>]*?)\swidth="([\d.]+)pt"\sheight="[\d.]+pt"|(<svg\b[^>]*?)\sheight="[\d.]+pt"',
        r"\1\3",
        svg,
    )
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--font)", svg)
    for colour, name in ((INK, "currentColor"), (LINE, "var(--line)"), (MUTED, "var(--muted)")):
        svg = svg.replace(colour, name)
    width = figure.get_size_inches()[0] * 96
    return svg.replace("<svg", f'<svg style="width:{width:.0f}px"', 1)


def _cell(value: Any) -> str:
    """One cell as HTML; a `Score` as its value, a bar with interval and chance mark, and both in figures."""
    if not isinstance(value, Score):
        return _inline(plain_cell(value))
    parts = [value.value, value.low, value.high] + ([] if value.chance is None else [value.chance])
    digits = [re.sub(r"^(-?)0\.", r"\1.", _number(part)) for part in parts]
    note = f"{digits[1]}–{digits[2]}" + (f" · chance {digits[3]}" if value.chance is not None else "")
    bar = _bar(*parts) if all(0 <= part <= 1 for part in parts) else ""
    title, kind = escape(str(value), quote=True), "score at" if value.at_chance else "score"
    return f'<div class="{kind}" title="{title}"><b>{digits[0]}</b>{bar}<span>{note}</span></div>'


def _bar(value: float, low: float, high: float, chance: float | None = None) -> str:
    mark = "" if chance is None else f'<i class="c" style="left:{100 * chance:.1f}%"></i>'
    return (
        f'<div class="bar" aria-hidden="true"><i class="v" style="width:{100 * value:.1f}%"></i>'
        f'<i class="r" style="left:{100 * low:.1f}%;width:{100 * (high - low):.1f}%"></i>{mark}</div>'
    )


def plain_cell(value: Any) -> str:
    """A cell as text: `0.93 [0.91, 0.95] / 0.05` of a `Score`, chance last."""
    if value is None:
        return "–"
    if isinstance(value, Score):
        chance = "" if value.chance is None else f" / {_number(value.chance)}"
        return f"{_number(value.value)} [{_number(value.low)}, {_number(value.high)}]{chance}"
    if isinstance(value, float):
        return f"{value:g}" if abs(value) >= 1 and (2 * value).is_integer() else _number(value)
    return str(value)


def _number(value: float) -> str:
    """Three decimals below 10, fewer above, so that columns align: 0.930, 0.012, 12.5, 384."""
    if not math.isfinite(value):
        return "–"
    if 0 < abs(value) < 0.0005:
        return f"{value:.0e}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 100 else f"{value:.0f}"


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(str(text)))


def _check_table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    for i, row in enumerate(rows):
        if len(row) != len(headers):
            raise DataError(f"table: row {i} has {len(row)} cells for {len(headers)} headers: give one cell each.")
