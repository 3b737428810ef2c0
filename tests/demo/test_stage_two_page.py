"""What the page of stage two draws first: learned, lost, and lost with a signal in the prompt."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from pairalign.demo.stage_two_page import _points_by_kind, draw_change


def run(held: float, lost_before: float | None) -> Any:
    def measured(touch: float, image: float) -> dict[str, Any]:
        return {"validation": {"touch": {"accuracy": touch}}, "held_out": {"image": {"accuracy": image}}}

    again = {} if lost_before is None else {"forgetting": {"before": {"points": lost_before}}}
    return SimpleNamespace(
        results={"base": measured(0.2, 1.0), "after": measured(0.7, held), "with_signals": again or None}
    )


def test_bars_are_the_measured_points_and_a_loss_points_left() -> None:
    told = _points_by_kind({"dormant": run(1.0, 8.0), "full tuning": run(0.75, 30.0)})
    values = {kind: {name: round(value, 6) for name, value in found.items()} for kind, (_, found) in told.items()}
    assert values == {
        "learned": {"dormant": 50.0, "full tuning": 50.0},
        "lost, without a signal in the prompt": {"dormant": 0.0, "full tuning": -25.0},
        "lost, with a signal in front": {"dormant": -8.0, "full tuning": -30.0},
    }


def test_what_was_not_asked_is_not_drawn() -> None:
    runs = {"dormant": run(1.0, None), "full tuning": run(0.75, 30.0)}
    assert list(_points_by_kind(runs)) == ["learned", "lost, without a signal in the prompt"]
    legend = draw_change(runs).axes[0].get_legend()
    assert legend is not None
    assert len(legend.get_texts()) == 2
