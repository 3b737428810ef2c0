"""Which rate an arm learns at, and which arms get more seeds: those on the front, or so near that a seed could put them
there, with their random controls (or what they are the control of), and full tuning, to which all else is compared.

An arm is on the front if no other learns as much and forgets as little, one of the two strictly. There is a front for
each kind of forgetting, without and with a signal in the prompt (the mean over its two places), and being on one is
enough. One seed has no range; `MARGIN` stands for it: an arm counts as on the front if it would be, had it learned so
much more and forgotten so much less.

Note:
    A rate is chosen by what the sensor learned alone, before anybody looks at what was forgotten.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from fronts.arms import SEEDS, Arm

Found = dict[tuple[str, float, int], dict[str, Any]]  # results by arm, rate, seed
SeedsFor = Literal["all", "front"]
MARGIN = 4.0
"""Points; half of the usual range of learning over three seeds, as measured."""
YARDSTICK = "full tuning"


def learned(result: Mapping[str, Any]) -> float:
    """Points of the sensor's validation; a run that went non-finite learned nothing."""
    return float(result["learning"]["points"]) if "learning" in result else float("-inf")


def forgotten(result: Mapping[str, Any]) -> float:
    """Points lost without a signal in the prompt, 0 or more."""
    return max(float(result["forgetting"]["points"]), 0.0)


def forgotten_with_signal(result: Mapping[str, Any]) -> float:
    """Points lost with a signal in the prompt, over both of its places, 0 or more."""
    places = result["with_signals"]["forgetting"]
    return max(statistics.mean(places[place]["points"] for place in ("before", "behind")), 0.0)


def best_rates(found: Found, arms: Sequence[Arm]) -> dict[str, float]:
    """Each arm's rate, the one that learns most with seed 0."""
    chosen = {}
    for arm in arms:
        rates = [rate for name, rate, seed in found if name == arm.name and seed == SEEDS[0]]
        chosen[arm.name] = max(rates, key=lambda rate, name=arm.name: learned(found[name, rate, SEEDS[0]]))
    return chosen


def near_front(results: Mapping[str, Mapping[str, Any]], margin: float = MARGIN) -> set[str]:
    """Of results by arm, those that are on a front, or within the margin of one."""
    near = set()
    for lost in (forgotten, forgotten_with_signal):
        points = {name: (learned(result), lost(result)) for name, result in results.items() if "learning" in result}
        for name, (learning, losing) in points.items():
            most, least = learning + margin, max(losing - margin, 0.0)
            others = points.values()
            if not any(a >= most and b <= least and (a, b) != (most, least) for a, b in others):
                near.add(name)
    return near


def arms_with_seeds(found: Found, chosen: Mapping[str, float], arms: Sequence[Arm], seeds_for: SeedsFor) -> list[Arm]:
    """The arms that are taught with all seeds, by what seed 0 found at each one's rate; "all" takes every arm."""
    if seeds_for == "all":
        return list(arms)
    near = near_front({arm.name: found[arm.name, chosen[arm.name], SEEDS[0]] for arm in arms})
    wanted = near | {arm.control_of for arm in arms if arm.name in near and arm.control_of} | {YARDSTICK}
    return [arm for arm in arms if arm.name in wanted or arm.control_of in wanted]
