"""What was to be reached and what was, out of records: learning and forgetting beside full tuning's, packs, step time.

Note:
    Forgetting is in points, a mean over held-out tasks (the right word in a free answer; of pictures the exact name)
    and over both places of a signal, against the base without a signal. Arms are compared at the rates that learned
    most, not at equal learning: what each learned stands beside. Intervals are Wilson's over the answers of all seeds.
    What has not run is "–".
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pairalign.evaluate.intervals import wilson
from real.arms import ALWAYS, FULL, REHEARSED, SENSOR
from real.speed import LORA, medians
from real.table import asked_first, held

Records = Mapping[str, Sequence[Mapping[str, Any]]]
PLACES = ("before", "behind")
RANDOM, HIGHEST = "rows .1, random, {}", "rows .1, highest Splash, {}"


def learned(found: Sequence[Mapping[str, Any]]) -> float:
    """Points of the sense's first question, after minus before, a mean over seeds."""
    return 100 * statistics.mean(
        asked_first(one["after"]["validation"])["accuracy"] - asked_first(one["base"]["validation"])["accuracy"]
        for one in found
    )


def lost(found: Sequence[Mapping[str, Any]], places: Sequence[str]) -> float:
    """Points of held-out answers, base minus after training."""
    parts = []
    for one in found:
        for task in one["base"]["held_out"]:
            base = held(one, task, "base")
            parts += [base["value"] - after["value"] for p in places if base and (after := held(one, task, p))]
    return 100 * statistics.mean(parts) if parts else float("nan")


def differing(found: Sequence[Mapping[str, Any]]) -> str:
    """Answer logits of prompts without a signal that are not the base's."""
    bits = [task["identical"] for one in found for task in ((one["with_signals"] or {}).get("tasks") or {}).values()
            if task.get("identical")]  # fmt: skip
    return f"{sum(b['differ'] for b in bits):,} of {sum(b['compared'] for b in bits):,} logits differ"


def figures(records: Records, packs: Sequence[Mapping[str, Any]], speed: Mapping[str, Any]) -> str:
    """Markdown. records: of the end, by arm."""
    ran = {arm: [one["results"] for one in found if "results" in one] for arm, found in records.items()}
    ran = {arm: found for arm, found in ran.items() if found}
    lines = ["| what | to reach | reached |", "|---|---|---|"]
    rows = [*_learning(ran), *_forgetting(ran), *_chosen(ran), *_packs(packs), *_speed(speed)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _learning(ran: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for arm in (SENSOR.name, REHEARSED.name):
        what = f"learned by {arm} / by full tuning"
        if arm in ran and FULL.name in ran:
            ours, theirs = learned(ran[arm]), learned(ran[FULL.name])
            yield what, "≥ 0.96", f"{_ratio(ours, theirs)} ({ours:.1f} of {theirs:.1f} points)"
        else:
            yield what, "≥ 0.96", "–"


def _forgetting(ran: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for arm in (SENSOR.name, REHEARSED.name):
        if arm not in ran:
            continue
        without = lost(ran[arm], ["without"])
        yield f"forgotten without a signal, {arm}", "0", f"{without:.1f} points, {differing(ran[arm])}"
        if FULL.name in ran:
            ours, theirs = lost(ran[arm], PLACES), lost(ran[FULL.name], PLACES)
            said = f"{_ratio(ours, theirs)} ({ours:.1f} of {theirs:.1f} points)"
            yield f"forgotten with a signal, {arm} / full tuning", "≤ 0.10", said
    if ALWAYS.name in ran and FULL.name in ran:
        ours, theirs = (lost(ran[arm], ["without"]) for arm in (ALWAYS.name, FULL.name))
        felt = " and ".join(f"{learned(ran[arm]):.1f}" for arm in (ALWAYS.name, FULL.name))
        said = f"{_ratio(ours, theirs)} ({ours:.1f} of {theirs:.1f} points, having learned {felt})"
        yield "forgotten without a signal, rows always / full tuning", "≤ 0.25", said


def _chosen(ran: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for acts, splash in (("always", ALWAYS.name), ("from the sensor on", SENSOR.name)):
        arms = {"Splash": splash, "random": RANDOM.format(acts), "highest": HIGHEST.format(acts)}
        said = []
        for name, arm in arms.items():
            if arm in ran:
                scores = [next(iter(asked_first(one["after"]["validation"])["kinds"].values())) for one in ran[arm]]
                hits, n = sum(round(s["value"] * s["n"]) for s in scores), sum(s["n"] for s in scores)
                one, gone = wilson(hits, n), lost(ran[arm], ["without", *PLACES])
                said.append(f"{name} {one.value:.2f} ({one.low:.2f} to {one.high:.2f}), {gone:.1f} points lost")
        yield f"felt by rows chosen by …, {acts}", "stated", "; ".join(said) or "–"


def _packs(packs: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, str]]:
    worst = []
    for record in packs:
        for rows in record["found"].values():
            alone = statistics.mean(rows["alone"])
            worst += [100 * (alone - statistics.mean(hits)) for name, hits in rows.items() if name.startswith("both")]
    yield "two packs together against each alone, points lost", "≤ 2", f"{max(worst):.1f} at worst" if worst else "–"


def _speed(speed: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    found = medians(speed)
    lora = found.get((LORA.name, "float32"))
    for name in ("rows, from the sensor on", "rows, always"):
        own = found.get((name, "float32"))
        said = f"{own / lora:.2f} ({own:.2f} of {lora:.2f} CPU s)" if own and lora else "–"
        yield f"a step of {name} / of LoRA", "≤ 0.5", said


def _ratio(ours: float, theirs: float) -> str:
    return f"{ours / theirs:.2f}" if theirs > 0 else f"{ours:.1f} to {theirs:.1f}"
