"""`bench/front.py` without a run: every arm's configuration, and who gets more seeds on made-up results."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

import pairalign as pa

BENCH = Path(__file__).parents[2] / "bench"
pytestmark = pytest.mark.skipif(not BENCH.exists(), reason="bench/ is not part of an installed package")


@pytest.fixture(autouse=True)
def on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH))


def result(learning: float, forgetting: float, with_signal: float) -> dict[str, Any]:
    places = {place: {"points": with_signal} for place in ("before", "behind")}
    told = {"learning": {"points": learning}, "forgetting": {"points": forgetting}}
    return {**told, "with_signals": {"forgetting": places}}


def test_every_arm_is_a_valid_configuration_and_a_control_trains_as_its_arm_does(tmp_path: Path) -> None:
    from fronts.arms import ARMS, RATES, settings

    args = argparse.Namespace(base="base", demo=tmp_path, out=tmp_path, steps=2, every=0)
    loaded = {arm.name: pa.load_config(pa.RecomposeConfig, settings(arm, RATES[0], 0, args)) for arm in ARMS}
    assert len(loaded) == len(ARMS)
    assert len({config.out for config in loaded.values()}) == len(ARMS)
    by_name = {arm.name: arm for arm in ARMS}
    controls = [arm for arm in ARMS if arm.control_of]
    assert {"Splash .6, tuned front end", "MNAFT as published"} < {arm.control_of for arm in controls}
    for arm in controls:
        of = by_name[arm.control_of]
        differ = {key for key in {**arm.dormant, **of.dormant} if arm.dormant.get(key) != of.dormant.get(key)}
        assert differ in ({"score"}, {"choose"}), arm.name
        for same in ("sense", "calibration", "method", "pictures"):
            assert getattr(arm, same) == getattr(of, same)
    assert loaded["Splash .6, tuned front end"].sensors["touch"].tune == "all"
    recipe = pa.load_config(pa.RecomposeConfig, BENCH.parent / "configs" / "recompose" / "mnaft.yaml")
    assert loaded["MNAFT as published"].dormant == recipe.dormant


def test_the_front_is_of_either_kind_of_forgetting_and_a_seed_wide() -> None:
    from fronts.choice import near_front

    results = {
        "learns most": result(90, 60, 60),
        "forgets nothing": result(80, 0, 40),
        "within the margin of it": result(77, 3, 43),
        "beaten by more": result(75, 0, 46),
        "on the front with a signal alone": result(50, 20, 5),
        "beaten in both": result(60, 30, 50),
        "diverged": {"failed": "not finite"},
    }
    assert near_front(results, 4.0) == {
        "learns most", "forgets nothing", "within the margin of it", "on the front with a signal alone",
    }  # fmt: skip
    assert "within the margin of it" not in near_front(results, 0.0)


def test_seeds_go_to_the_front_its_controls_and_full_tuning_at_the_rate_that_learns_most() -> None:
    from fronts.arms import Arm
    from fronts.choice import arms_with_seeds, best_rates

    arms = [Arm("full tuning", "full"), Arm("best"), Arm("its control", control_of="best"), Arm("poor")]
    arms += [Arm("beaten"), Arm("control that is on the front", control_of="beaten")]
    at = {"full tuning": (70, 70), "best": (80, 0), "its control": (40, 40), "poor": (30, 30), "beaten": (20, 20)}
    at["control that is on the front"] = (90, 1)
    found = {(name, 1e-3, 0): result(a, b, b) for name, (a, b) in at.items()}
    found |= {(name, 3e-3, 0): result(a - 5, 0, 0) for name, (a, _) in at.items()}
    found["poor", 3e-3, 0] = {"failed": "not finite"}
    chosen = best_rates(found, arms)
    assert set(chosen.values()) == {1e-3}
    assert [arm.name for arm in arms_with_seeds(found, chosen, arms, "front")] == [
        "full tuning", "best", "its control", "beaten", "control that is on the front",
    ]  # fmt: skip
    assert arms_with_seeds(found, chosen, arms, "all") == arms


def test_what_is_left_counts_taught_runs_alone() -> None:
    from fronts.runs import left

    kept, taught = {"learning": {}}, {"learning": {}, "seconds": 120.0}
    assert left({("a", 1.0, 0): kept}, 5, 5, 2) == ""
    assert left({("a", 1.0, 0): kept, ("b", 1.0, 0): taught}, 10, 20, 2) == (
        "about 10 min left, at most 30 with more seeds"
    )


def test_a_run_that_diverges_learned_nothing_and_any_other_fault_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    from fronts.arms import ARMS, settings
    from fronts.runs import run_one
    from pairalign.core.errors import DataError

    def fail(reason: str) -> Any:
        def run(*args: Any, **more: Any) -> Any:
            raise DataError(reason)

        return run

    args = argparse.Namespace(base="base", demo=Path("demo"), out=Path("nowhere"), steps=2, every=0)
    values = settings(ARMS[0], 1e-3, 0, args)
    monkeypatch.setattr(pa, "recompose_mllm", fail("the loss became nan at step 3"))
    assert run_one(values) == {"failed": "the loss became nan at step 3"}
    monkeypatch.setattr(pa, "recompose_mllm", fail("'lessons/touch' has 3 samples"))
    with pytest.raises(DataError, match="3 samples"):
        run_one(values)


def test_the_page_says_both_kinds_of_forgetting_at_every_rate_and_draws_them(tmp_path: Path) -> None:
    from fronts.arms import Arm
    from fronts.page import picture, rates_table, table

    arms = [Arm("whole", "full"), Arm("none", "bridge"), Arm("gone", "lora")]
    more = {"trained": 10, "after": {"held_out": {"text": {"drift": 0.5}}}}
    worst = {"worst": "text", "worst_points": -9.0}

    def full(learning: float, lost: float, signal: float) -> dict[str, Any]:
        made = result(learning, lost, signal)
        return {**made, **more, "forgetting": {**made["forgetting"], **worst}}

    found = {
        ("whole", 0.001, 0): full(80.0, 20.0, 30.0),
        ("whole", 0.001, 1): full(84.0, 24.0, 34.0),
        ("whole", 0.003, 0): full(70.0, 50.0, 60.0),
        ("none", 0.001, 0): full(40.0, -1.0, 5.0),
        ("gone", 0.001, 0): {"failed": "loss became NaN"},
    }
    rows = rates_table(found, arms).splitlines()
    assert rows[2] == "| whole | 80.0 / 20.0 / 30.0 | 70.0 / 50.0 / 60.0 |"
    assert rows[3] == "| none | 40.0 / 0.0 / 5.0 | – |"
    assert rows[4] == "| gone | not finite | – |"
    chosen = {"whole": 0.001, "none": 0.001, "gone": 0.001}
    assert "| +82.0 (+80.0 to +84.0) | +22.0 (+20.0 to +24.0) | +32.0 (+30.0 to +34.0) |" in table(
        found, chosen, 2, arms
    )
    picture(found, chosen, arms, tmp_path / "front.png")
    assert [path.name for path in tmp_path.iterdir()] == ["front.png"]
