"""The words for a held-out task: "identical" only where every compared logit is."""

from __future__ import annotations

from typing import Any

import pytest

from pairalign.evaluate.intervals import wilson
from pairalign.finetune.measure import TaskScore
from pairalign.finetune.three_figures import asked_again, held_out_lines, lines_of, points_line, sameness, table_of


def score(right: int, contains: bool = True) -> dict[str, Any]:
    kinds = {"colour": wilson(right, 10)}
    return TaskScore(kinds, right / 10, 1.0, contains=wilson(right, 10) if contains else None).to_dict()


def told(**changes: Any) -> dict[str, Any]:
    task = {
        "n": 10, "of": 10, "sensors": {"touch": 10}, "alike": False, "not_compared": None,
        "identical": {"compared": 5000, "differ": 0}, "base": score(9), "without": score(9), "before": score(2),
        "behind": score(3), "updates_off": {"before": score(7), "behind": score(8)},
    }  # fmt: skip
    return {**task, **changes}


def results(**changes: Any) -> dict[str, Any]:
    lost = {"before": {"points": 70.0}, "behind": {"points": 60.0}, "without": {"points": 0.0}}
    off = {"before": {"points": 20.0}, "behind": {"points": 10.0}}
    return {"with_signals": {"tasks": {"image": told(**changes)}, "forgetting": {**lost, "updates_off": off}}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "identical: all 5,000 answer logits are the base's, bit for bit"),
        ({"identical": {"compared": 5000, "differ": 1}}, "1 of 5,000 answer logits are not the base's"),
        ({"identical": {"compared": 0, "differ": 0}}, "0 of 0 answer logits are not the base's"),
        ({"identical": None, "not_compared": "why"}, "not compared with the base: why"),
    ],
)
def test_only_what_was_compared_and_is_the_same_is_called_identical(changes: dict[str, Any], words: str) -> None:
    assert sameness(told(**changes)) == words
    assert ("identical" in words) == (not changes)


def test_the_lines_of_a_task_have_all_figures_and_their_number() -> None:
    first, *lines = lines_of(told())
    assert first.startswith("without the sensor   identical")
    assert lines == [
        "a signal in front    0.200 (updates off 0.700)  words in a free answer 0.200 (updates off 0.700)  (n 10)",
        "a signal behind      0.300 (updates off 0.800)  words in a free answer 0.300 (updates off 0.800)  (n 10)",
    ]
    part = told(of=40, updates_off=None, before=score(2, contains=False), alike=True)
    assert list(lines_of(part))[1] == (
        "a signal in front    0.200  (n 10, the first of 40; the base's chat template writes both positions alike)"
    )
    bare = {key: value for key, value in told(updates_off=None).items() if key not in ("before", "behind")}
    assert list(lines_of(bare)) == [first]
    own, *others = held_out_lines(results())
    assert own == "held_out/image                    0.900 → 0.900  (n 10)"
    assert others == [f"  {line}" for line in lines_of(told())]


def test_forgetting_with_a_signal_is_told_in_points() -> None:
    said = "a signal in front +70.0 (updates off +20.0), a signal behind +60.0 (updates off +10.0) points  (n 10)"
    assert points_line(results()) == said


def test_a_table_has_every_kind_with_its_interval() -> None:
    names, rows = table_of(results())
    assert names[:4] == ["question", "n", "before training", "after, without the sensor"]
    assert [row[0] for row in rows] == ["image: colour", "image: its words in a free answer"]
    assert rows[0][1:5] == ["10", *["0.900 (0.596 to 0.982)"] * 2, "0.200 (0.057 to 0.510)"]
    assert all(len(row) == len(names) == 8 for row in rows)
    names, rows = table_of(results(updates_off=None))
    assert all(len(row) == len(names) == 6 for row in rows)


@pytest.mark.parametrize("earlier", [{}, {"with_signals": None}])
def test_nothing_is_said_of_a_run_that_did_not_ask(earlier: dict[str, Any]) -> None:
    assert asked_again(earlier) == {}
    assert points_line(earlier) is None
    assert list(held_out_lines(earlier)) == []
    assert table_of(earlier) == ([], [])
