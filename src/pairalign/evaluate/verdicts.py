"""Whether it worked: of every edge, control and task what its interval says against chance, in words.

Note:
    A verdict follows from the interval alone: it is above chance where all of the interval is. Of many intervals of 95
    % some leave chance by luck, one in twenty; how many may is said beside the controls.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pairalign.evaluate.intervals import Score

ABOVE, AT, BELOW, NONE = "above chance", "not told apart from chance", "below chance", "no interval"
RANK = (ABOVE, AT, NONE, BELOW)  # of several directions the last one here is the verdict
MARKS = {True: "✓", False: "✗", None: "–"}
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Verdict:
    """One thing that was asked of a run, and the answer.

    about: such as an edge. kind: trained, emergent, control, zero-shot, task, held out. measure: what its scores count.
    word: the answer. good: whether that is as it should be, `None` where it says nothing. scores: what it follows from,
    by name. means: a sentence, where the word alone does not say it.
    """

    about: str
    kind: str
    measure: str
    word: str
    good: bool | None
    scores: Mapping[str, Score]
    means: str = ""

    @property
    def mark(self) -> str:
        """A sign beside the word, for eyes that tell no colours apart."""
        return MARKS[self.good]

    @property
    def said(self) -> list[str]:
        """What stands below the name: the kind, what is counted, and of how many."""
        counts = sorted({count_of(score).replace(" ", "\N{NO-BREAK SPACE}") for score in self.scores.values()})
        return [part for part in (self.kind, self.measure, *counts) if part]

    def to_dict(self) -> dict[str, Any]:
        """For `metrics.json` and `results.json`."""
        return {**vars(self), "scores": {name: score.to_dict() for name, score in self.scores.items()}}


def count_of(score: Score) -> str:
    """Of how many samples, and of how many groups where these count."""
    return f"n {score.n:,}" + (f" in {score.clusters:,} groups" if score.clusters else "")


def place(score: Score) -> str | None:
    """Where the interval lies; `None` where the score has no chance level."""
    if score.chance is None:
        return None
    if not (math.isfinite(score.low) and math.isfinite(score.high)):
        return NONE
    return ABOVE if score.above_chance else AT if score.at_chance else BELOW


def verdict_of(about: str, kind: str, measure: str, scores: Mapping[str, Score], means: str = "") -> Verdict:
    """Of scores that have a chance level. Controls are right where they are not told apart from it."""
    words = {name: place(score) or NONE for name, score in scores.items()}
    word = max(words.values(), key=RANK.index)
    if len(set(words.values())) > 1:
        said = "; ".join(f"{name}: {one}" for name, one in words.items())
        means = f"{said}. {means}".strip()
    good = {ABOVE: False, BELOW: False, AT: True}.get(word) if kind == "control" else {ABOVE: True}.get(word)
    if kind == "control" and ABOVE in words.values():
        word, good = ABOVE, False
    return Verdict(about, kind, measure, word, False if word == BELOW else good, scores, means)


def pool_verdicts(record: Record) -> list[Verdict]:
    """Of every edge, of zero-shot classification and of every control that was measured of a pool."""
    pairs = list(record["pairs"].values())
    edges = [_edge(pair) for pair in pairs]
    named = [
        verdict_of(name, "zero-shot", f"nearest of {len(found.classes)} classes", {"top-1": found.overall[1]})
        for name, found in record.get("zero_shot", {}).items()
    ]
    return [*edges, *named, *(control for pair in pairs for control in _controls(pair))]


def _edge(pair: Record) -> Verdict:
    """By all factors that both sides see, where samples differ in them; else by the very sample."""
    found, (a, b) = pair.get("agreement", {}), _ends(pair)
    scores: dict[str, Score] = {"there": pair["retrieval"][0].recall[1], "back": pair["retrieval"][1].recall[1]}
    measure = "nearest is its own partner (R@1)"
    factors = found.get("all")
    if factors and all(score.chance < 1 for score in factors.values()):
        scores = {"there": factors["forward"], "back": factors["backward"]}
        measure = f"nearest agrees in {_listed(found['factors'])}"
    return verdict_of(f"{a} – {b}", pair["status"], measure, scores)


def _controls(pair: Record) -> list[Verdict]:
    found, (a, b) = pair.get("agreement", {}), _ends(pair)
    return [
        verdict_of(f"{a} – {b}: {name}", "control", f"nearest agrees in {name}",
                   {"there": each["forward"], "back": each["backward"]})
        for name in found.get("control", ()) if (each := found["each"][name])
    ]  # fmt: skip


def _ends(pair: Record) -> tuple[str, str]:
    return pair["path"][0], pair["path"][-1]


def edges_of(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """All but controls."""
    return [verdict for verdict in verdicts if verdict.kind != "control"]


def controls_of(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """What should be at chance."""
    return [verdict for verdict in verdicts if verdict.kind == "control"]


def headline(verdicts: Sequence[Verdict], pools: int = 1) -> tuple[str, bool | None]:
    """One sentence over all edges of so many pools, and whether all is as it should be."""
    asked, controls = edges_of(verdicts), controls_of(verdicts)
    if not asked:
        return "Nothing was asked that chance could be compared with.", None
    above, below = (sum(verdict.word == word for verdict in asked) for word in (ABOVE, BELOW))
    noun = "edge" if all(verdict.kind in ("trained", "emergent") for verdict in asked) else "edge and task"
    nouns = noun.replace("edge", "edges").replace("task", "tasks")
    where = f" over {pools} held-out sets" if pools > 1 else ""
    if len(asked) == 1:
        said = f"The only {noun.split()[0]} is {asked[0].word}"
    elif above == len(asked):
        said = f"All {above} {nouns}{where} are above chance"
    elif above:
        said = f"{above} of {len(asked)} {nouns}{where} are above chance"
    else:
        said = f"None of {len(asked)} {nouns}{where} is above chance"
    said += f", {below} below it" if below and len(asked) > 1 else ""
    leaks = sum(verdict.word == ABOVE for verdict in controls)
    if leaks:
        luck = sum((1 - score.level) / 2 for one in controls for score in one.scores.values())
        said += f"; {leaks} of {len(controls)} controls are above chance, too (by luck about {luck:.1g})"
    return f"{said}.", (None if leaks else True) if above == len(asked) else None if above else False


def controls_told(verdicts: Sequence[Verdict]) -> str:
    """How the controls did, which of them left chance, and how many may by luck; nothing where there is none."""
    controls = controls_of(verdicts)
    if not controls:
        return ""
    said = [f"{count} {word}" for word in RANK if (count := sum(one.word == word for one in controls))]
    off = {word: [one.about for one in controls if one.word == word] for word in (ABOVE, BELOW)}
    named = "".join(f" {word.capitalize()}: {'; '.join(names)}." for word, names in off.items() if names)
    scores = [score for one in controls for score in one.scores.values()]
    luck = sum(1 - score.level for score in scores)
    return (
        f"{len(controls)} controls, which should be at chance: {', '.join(said)}.{named} "
        f"Of {len(scores)} intervals of {scores[0].level:.0%} about {luck:.1g} leave chance by luck."
    )


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
