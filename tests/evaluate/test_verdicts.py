"""A verdict follows from the interval against chance, and every sentence from the verdicts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pairalign.evaluate.intervals import Score
from pairalign.evaluate.report import plain
from pairalign.evaluate.retrieval import Bidirectional
from pairalign.evaluate.verdicts import (
    ABOVE,
    AT,
    BELOW,
    NONE,
    controls_told,
    edges_of,
    headline,
    place,
    pool_verdicts,
    verdict_of,
)

HIGH, EVEN, LOW = (Score(v, v - 0.05, v + 0.05, 100, 0.2) for v in (0.5, 0.2, 0.1))
NAN = Score(0.5, float("nan"), float("nan"), 1, 0.2)


class Recall:
    """As much of a retrieval score as a verdict reads."""

    def __init__(self, score: Score) -> None:
        self.recall = {1: score}


def pair(there: Score, back: Score, **more: Any) -> dict[str, Any]:
    return {"status": "trained", "path": ["a", "b"], "retrieval": Bidirectional(Recall(there), Recall(back)), **more}  # type: ignore[arg-type]


def agreeing(seen: Score, control: Score) -> dict[str, Any]:
    each = {"shape": {"forward": seen, "backward": seen}, "hue": {"forward": control, "backward": EVEN}}
    return {"factors": ["shape"], "all": each["shape"], "each": each, "control": ["hue"]}


def test_the_place_of_an_interval() -> None:
    assert [place(score) for score in (HIGH, EVEN, LOW, NAN, Score(1, 1, 1, 3))] == [ABOVE, AT, BELOW, NONE, None]
    edge = Score(0.3, 0.2, 0.4, 9, 0.2)  # touches chance, so it is not told apart from it
    assert place(edge) == AT


@pytest.mark.parametrize(
    ("there", "back", "kind", "word", "good"),
    [
        (HIGH, HIGH, "trained", ABOVE, True),
        (HIGH, EVEN, "trained", AT, None),
        (HIGH, LOW, "trained", BELOW, False),
        (EVEN, EVEN, "control", AT, True),
        (EVEN, LOW, "control", BELOW, False),
        (LOW, HIGH, "control", ABOVE, False),
    ],
)
def test_the_worst_direction_is_the_verdict(there: Score, back: Score, kind: str, word: str, good: bool | None) -> None:
    found = verdict_of("a – b", kind, "R@1", {"there": there, "back": back})
    assert (found.word, found.good) == (word, good)
    assert (there == back) == (not found.means)  # where directions differ, it says which is which


def test_an_edge_is_judged_by_shared_factors_where_they_vary_else_by_its_own_partner() -> None:
    by_factor, control = pool_verdicts({"pairs": {"a-b": pair(EVEN, EVEN, agreement=agreeing(HIGH, LOW))}})
    assert (by_factor.word, by_factor.measure) == (ABOVE, "nearest agrees in shape")
    assert (control.kind, control.word, control.about) == ("control", BELOW, "a – b: hue")
    one_kind = Score(1.0, 0.9, 1.0, 100, 1.0)
    (by_partner, _) = pool_verdicts({"pairs": {"a-b": pair(HIGH, HIGH, agreement=agreeing(one_kind, EVEN))}})
    assert (by_partner.word, by_partner.measure) == (ABOVE, "nearest is its own partner (R@1)")
    written = json.loads(json.dumps(plain([by_factor])))
    assert written[0]["scores"]["there"]["chance"] == 0.2
    assert written[0]["word"] == ABOVE


@pytest.mark.parametrize(
    ("edges", "control", "said", "good"),
    [
        ([HIGH, HIGH], EVEN, "All 2 edges are above chance.", True),
        ([HIGH, EVEN], EVEN, "1 of 2 edges are above chance.", None),
        ([EVEN, EVEN], EVEN, "None of 2 edges is above chance.", False),
        ([EVEN, LOW], EVEN, "None of 2 edges is above chance, 1 below it.", False),
        ([EVEN], EVEN, "The only edge is not told apart from chance.", False),
        ([HIGH, HIGH], HIGH, "2 of 2 controls are above chance, too (by luck about 0.1).", None),
    ],
)
def test_the_headline_says_what_the_verdicts_say(
    edges: list[Score], control: Score, said: str, good: bool | None
) -> None:
    pairs = {str(n): pair(EVEN, EVEN, agreement=agreeing(score, control)) for n, score in enumerate(edges)}
    verdicts = pool_verdicts({"pairs": pairs})
    text, found = headline(verdicts)
    assert text.endswith(said)
    assert found is good
    assert len(edges_of(verdicts)) == len(edges)


def test_controls_off_chance_are_named_below_it_as_well_as_above() -> None:
    verdicts = pool_verdicts({"pairs": {"x": pair(EVEN, EVEN, agreement=agreeing(HIGH, LOW))}})
    said = controls_told(verdicts)
    assert "1 controls, which should be at chance: 1 below chance." in said
    assert "Below chance: a – b: hue." in said
    assert controls_told(edges_of(verdicts)) == ""
