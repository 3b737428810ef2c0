"""Learning, forgetting and recovery of a made-up table, against figures worked out by hand."""

from __future__ import annotations

import pytest

from pairalign.core.errors import DataError
from pairalign.finetune.sequence.figures import (
    Recovery,
    correlation,
    forgetting,
    held_out_forgetting,
    learning,
    recovered,
    recovery,
    skill_recoveries,
    summary,
)

TABLE = [  # base, then after each of three skills
    [0.10, 0.20, 0.30],
    [0.90, 0.25, 0.30],
    [0.40, 0.70, 0.20],
    [0.65, 0.75, 0.80],
]
HELD = [[1.0, 0.8], [0.5, 0.8], [0.7, 0.9], [0.6, 0.8]]


def test_learning_is_counted_from_the_base_and_forgetting_from_the_own_stage() -> None:
    assert learning(TABLE) == pytest.approx([80, 50, 50])
    assert forgetting(TABLE) == [pytest.approx(25), pytest.approx(-5), None]


def test_what_came_back_is_told_from_what_was_lost() -> None:
    """90 → 40 → 65: lost 50, back 25. The second skill rose, and nothing of it was lost."""
    first, second, last = skill_recoveries(TABLE)
    assert first == Recovery(pytest.approx(50), pytest.approx(25), pytest.approx(0.5))
    assert second == Recovery(0, 0, None)
    assert last is None


def test_a_rise_above_the_start_is_no_recovery() -> None:
    """From 50: down to 30, up to 90 (which gives back 20, not 60), down to 40."""
    found = recovery([0.5, 0.3, 0.9, 0.4])
    assert (found.lost, found.back, found.share) == pytest.approx((30, 20, 2 / 3))
    assert found.lost - found.back == pytest.approx(10)


def test_held_out_tasks_are_counted_from_the_base() -> None:
    assert held_out_forgetting(HELD) == pytest.approx([25, 10, 20])
    parts = summary(TABLE, HELD)["held_out_recovery"]
    assert (parts[0]["lost"], parts[0]["back"]) == pytest.approx((60, 20))
    assert parts[1] == {"lost": 0.0, "back": 0.0, "share": None}
    assert recovered(parts) == pytest.approx(1 / 3)
    assert recovered([None, parts[1]]) is None


def test_a_summary_has_the_means() -> None:
    found = summary(TABLE, [])
    assert found["mean_learning"] == pytest.approx(60)
    assert found["mean_forgetting"] == pytest.approx(10)
    assert "held_out_forgetting" not in found


def test_a_correlation_of_too_little_is_none() -> None:
    assert correlation([(0, 0), (1, 2), (2, 4)]) == pytest.approx(1)
    assert correlation([(0, 4), (1, 2), (2, 0)]) == pytest.approx(-1)
    assert correlation([(0, 0), (1, 1)]) is None
    assert correlation([(0, 1), (1, 1), (2, 1)]) is None


@pytest.mark.parametrize("table", [[], [[]], TABLE[:3], [*TABLE[:3], [0.1]]])
def test_a_table_of_another_form_is_refused(table: list[list[float]]) -> None:
    with pytest.raises(DataError, match="one for the base"):
        learning(table)
