"""What stage two's first screen says: learned or not, lost or not, identical or not, within the bound or beyond it."""

from __future__ import annotations

from typing import Any

import pytest

from pairalign.evaluate.intervals import wilson
from pairalign.evaluate.report import Report
from pairalign.finetune.measure import TaskScore
from pairalign.finetune.verdicts import add_verdicts, result_verdicts, results_headline, task_score

N = 100


def score(right: int, chance: float | None = 0.25, n: int = N) -> dict[str, Any]:
    kinds = {kind: wilson(right, n, chance=chance) for kind in ("touch.hard", "touch.rough")}
    return TaskScore(kinds, right / n, 1.0).to_dict()


def results(task: tuple[int, int], held: tuple[int, int], step: int = 5, **more: Any) -> dict[str, Any]:
    return {
        "kept": {"step": step, "learned": True},
        "base": {"validation": {"touch": score(task[0])}, "held_out": {"image": score(held[0])}},
        "after": {"validation": {"touch": score(task[1])}, "held_out": {"image": score(held[1])}},
        **more,
    }


def again(before: int, without: int, front: int, differ: int = 0) -> dict[str, Any]:
    told = {"n": N, "of": N, "identical": {"compared": 9, "differ": differ}, "not_compared": None, "alike": False}
    scores = {"base": score(before), "without": score(without), "before": score(front)}
    return {"with_signals": {"tasks": {"image": {**told, **scores, "updates_off": {"before": score(before)}}}}}


@pytest.mark.parametrize(
    ("task", "step", "word", "good"),
    [
        ((20, 80), 5, "above chance", True),
        ((70, 72), 5, "above chance", None),  # not told apart from the base: nothing was learned
        ((20, 24), 5, "not told apart from chance", None),
        ((20, 5), 5, "below chance", None),
        ((80, 40), 5, "above chance", False),  # it was better before
        ((70, 70), 0, "above chance", True),  # nothing was trained: chance alone says
    ],
)
def test_a_task_is_learned_where_it_is_above_chance_and_above_the_base(
    task: tuple[int, int], step: int, word: str, good: bool | None
) -> None:
    (found, _) = result_verdicts(results(task, (90, 90), step))
    assert (found.kind, found.word, found.good) == ("task", word, good)
    assert found.scores["after"].value == pytest.approx(task[1] / N)
    assert found.scores["after"].n == 2 * N


def test_runs_of_earlier_versions_without_chance_are_judged_against_the_base() -> None:
    old = results((20, 80), (90, 90))
    for part in (old["base"], old["after"]):
        part["validation"]["touch"] = score(20 if part is old["base"] else 80, chance=None)
    assert next((v.word, v.good) for v in result_verdicts(old)) == ("above the base", True)


def test_what_is_lost_without_the_sensor_is_a_fault_and_with_a_signal_is_said_with_its_bound() -> None:
    gate = [{"part": "with a signal in front", "lost": 3.2, "bound": 15.0},
            {"part": "without a signal", "lost": 2.0, "bound": 1.0}]  # fmt: skip
    told = results((20, 80), (90, 90), **again(90, 90, 60), gate=gate)
    _, without, front, within, beyond = result_verdicts(told)
    assert (without.word, without.good) == ("identical without the sensor", True)
    assert (front.word, front.good) == ("lost", None)
    assert front.means.startswith("lost 30.0 points [")
    assert "with all updates off 0.900" in front.means
    assert (within.word, within.good) == ("within the bound", True)
    assert within.means == "lost 3.2 points with a signal in front, bound 15."
    assert (beyond.word, beyond.good) == ("beyond the bound", False)
    lost = result_verdicts(results((20, 80), (90, 90), **again(90, 40, 40, differ=3)))[1]
    assert (lost.word, lost.good) == ("lost", False)
    assert "3 of 9 answer logits are not the base's" in lost.means


@pytest.mark.parametrize(
    ("held", "word", "said"),
    [((90, 30), "lost", "lost 60.0 points"), ((90, 90), "not told apart from the base", "lost 0.0 points"),
     ((30, 90), "gained", "lost -60.0 points")],
)  # fmt: skip
def test_held_out_sets_that_were_not_compared(held: tuple[int, int], word: str, said: str) -> None:
    found = result_verdicts(results((20, 80), held))[1]
    assert found.word == word
    assert found.means.startswith(said)


def test_the_headline_and_the_page_follow() -> None:
    good = result_verdicts(results((20, 80), (90, 90), **again(90, 90, 60)))
    assert results_headline(good) == (
        "1 of 1 tasks is learned; identical without the sensor; "
        "with a signal in front 1 of 1 held-out sets have lost (30.0 points on average).", None,
    )  # fmt: skip
    alike = result_verdicts(results((20, 80), (90, 90), **again(90, 90, 90)))
    assert results_headline(alike) == (
        "1 of 1 tasks is learned; identical without the sensor; no loss shows with a signal in front.", True,
    )  # fmt: skip
    bad = results((20, 24), (90, 90))
    said, verdict = results_headline(result_verdicts(bad))
    assert said.startswith("0 of 1 tasks are learned")
    assert verdict is False
    page = Report("t")
    add_verdicts(page, bad, "Dormant")
    assert "not told apart from chance" in page.html()
    assert task_score(bad["after"]["validation"]["touch"]).chance == 0.25
