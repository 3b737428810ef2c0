"""The page of a set of descriptions: signals with what was said of them and what is right, then the scores.

Note:
    The samples shown are spread evenly over the split and not picked by score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pairalign.data.kinds import names_touch
from pairalign.evaluate.generation.published import spoken_name
from pairalign.evaluate.report import Report, Signal


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
    for verdict in result["verdicts"]:
        report.answered(f"The adjectives that the model names are {verdict.word}.", verdict.good)
    report.judged(f"{result['n']:,} samples", result["verdicts"], _CHANCE)
    if shown:
        report.section(
            "Touches" if touch else "Signals", "What the model says, what is right, and the F1 of the adjectives."
        )
        report.cards([[_card(one, f1.get(one.key)) for one in shown]], "Spread evenly over the split, not picked.")
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


_CHANCE = (
    "Chance is the better of two: the commonest adjectives as the answer to everything, and another sample's reference."
)
_EXPLAINED = (
    "Adjectives after stemming, matched one to one, synonyms included; negation is not understood. Micro is over all "
    "samples together, macro the mean over samples. Beside each score stands what answering always with the commonest "
    "adjectives gets, and what another sample's reference gets."
)


def _card(sample: Shown, f1: float | None) -> Signal:
    """The first signal of a sample, with answer and reference below."""
    said = sample.answer or "nothing"
    mark = "" if f1 is None else "right" if f1 >= 0.5 else "wrong"
    words = f"says: {said}; is: {sample.reference}"
    return Signal(*sample.signals[0], words, f"{sample.key}: {words}", mark)
