"""The page of a set of descriptions: signals with what was said of them and what is right, then the scores.

Where it bites: the samples shown are spread evenly over the split and not picked by score.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pairalign.data.draw import PALETTE, draw_signal, lay_out, new_figure
from pairalign.data.kinds import names_touch
from pairalign.evaluate.generation.published import spoken_name
from pairalign.evaluate.report import Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 4


class Shown(NamedTuple):
    """A sample on the page. signals: kind and value of every signal and picture of its prompt, at least one."""

    key: str
    signals: Sequence[tuple[str, Any]]
    answer: str
    reference: str


def build_page(
    result: Mapping[str, Any],
    table: tuple[list[str], list[list[Any]]],
    shown: Sequence[Shown],
    f1: Mapping[str, float],
    *,
    synthetic: bool = False,
) -> Report:
    """result: what is written as JSON. f1: of every scored sample."""
    sensor = spoken_name(result["sensor"])
    touch = names_touch(sensor)
    title = f"What the model says of {'touches' if touch else f'signals of {sensor}'}"
    report = Report(title, f"Measured as {result['title']}.", synthetic=synthetic)
    report.fact("samples", f"{result['n']:,}").fact("seed", result["seed"])
    for name in ("prompt", "split"):
        if name in result:
            report.fact(name, result[name])
    if shown:
        report.section(
            "Touches" if touch else "Signals", "What the model says, what is right, and the F1 of the adjectives."
        )
        report.picture(draw_answers(shown, f1), "Spread evenly over the split, not picked.")
        rows = [[s.key, s.answer or "nothing", s.reference, f1.get(s.key)] for s in shown]
        report.table(["sample", "says", "right", "F1"], rows)
    report.section("Scores", _EXPLAINED).table(*table, caption="Score, 95 % bootstrap interval, and both chances.")
    if result.get("held_out"):
        report.section("What was not trained on", "As it was measured when the model was trained.")
        for text in result["held_out"]:
            report.paragraph(text.strip())
    if result["differs"]:
        report.section("How this differs from the publication", f"Source: {result['source']}.")
        for text in result["differs"]:
            report.paragraph(text)
    return report


_EXPLAINED = (
    "Adjectives after stemming, matched one to one, synonyms included; negation is not understood. Micro is over all "
    "samples together, macro the mean over samples. Beside each score stands what answering always with the commonest "
    "adjectives gets, and what another sample's reference gets."
)


def draw_answers(shown: Sequence[Shown], f1: Mapping[str, float]) -> Figure:
    """A grid of touches, the first signal of each sample, with answer and reference below."""
    rows = -(-len(shown) // COLUMNS)
    figure, axes = new_figure(8.6, 3.3 * rows, rows, COLUMNS)
    for ax in axes.flat[len(shown) :]:
        ax.set_axis_off()
    for ax, sample in zip(axes.flat, shown, strict=False):
        draw_signal(ax, *sample.signals[0])
        score = f1.get(sample.key)
        colour = PALETTE[7] if score is None else PALETTE[2] if score >= 0.5 else PALETTE[4]
        lines = [f"says: {sample.answer or 'nothing'}", f"is: {sample.reference}"]
        lines = [line for text in lines for line in _wrap(text)]
        ax.set_xlabel("\n".join(lines), fontsize=8, color=colour)
    return lay_out(figure)


def _wrap(text: str, width: int = 28, most: int = 4) -> list[str]:
    lines = textwrap.wrap(text, width)
    return lines if len(lines) <= most else [*lines[: most - 1], lines[most - 1][: width - 1] + "…"]
