"""The figures of a sequence out of its stages' results, as plain values: sequence.json.

Note:
    An arm and seed has its figures once its last stage has finished; those that have not are told by their finished
    stages alone. A skill of several validation tasks counts as their mean.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pairalign.finetune.sequence.figures import correlation, summary
from pairalign.finetune.sequence.stages import Stage

Results = Mapping[str, Any]


class Done(NamedTuple):
    """A finished stage. seconds: that it took, `None` where it had finished before."""

    stage: Stage
    results: Results
    seconds: float | None = None


class Point(NamedTuple):
    """One measurement of held-out tasks: points lost since the base, and how much more probability than the base's the
    probe's words have there, in points, along the right answers and along the model's own (`None` where unread)."""

    arm: str
    seed: int
    stage: str
    step: int
    forgetting: float
    right: float | None
    own: float | None


def gather(done: Sequence[Done]) -> dict[str, Any]:
    """Everything that the report tells."""
    found: dict[str, Any] = {"skills": {n: list(tasks) for n, tasks in done[0].stage.skills.items()} if done else {}}
    found["runs"] = [_chain(chain) for chain in chains(done)]
    points = [point for chain in chains(done) for one in chain for point in points_of(one)]
    found["bias"] = {"points": [point._asdict() for point in points], "correlation": correlations(points)}
    return found


def chains(done: Sequence[Done]) -> list[list[Done]]:
    """The stages of each arm and seed."""
    found: dict[tuple[str, int], list[Done]] = {}
    for one in done:
        found.setdefault((one.stage.arm, one.stage.seed), []).append(one)
    return list(found.values())


def _chain(chain: Sequence[Done]) -> dict[str, Any]:
    first, skills = chain[0], chain[0].stage.skills
    rows = [_row(first.results["base"], skills), *(_row(one.results["after"], skills) for one in chain)]
    found: dict[str, Any] = {"arm": first.stage.arm, "seed": first.stage.seed, "base": rows[0]}
    found["stages"] = [
        {
            "name": one.stage.name,
            "run": one.stage.config.out,
            **row,
            "trained": one.results["trained"],
            "kept": one.results["kept"],
            "stopped": one.results["stopped"],
            "with_signals": (one.results.get("with_signals") or {}).get("forgetting"),
            "seconds": one.seconds,
        }
        for one, row in zip(chain, rows[1:], strict=True)
    ]
    if len(chain) == len(skills):
        table, held = ([list(row[part].values()) for row in rows] for part in ("skills", "held_out"))
        found["figures"] = summary(table, held)
    return found


def _row(measured: Mapping[str, Any], skills: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Accuracy by skill and by held-out task, and the probe on either."""
    asked, held = measured["validation"], measured.get("held_out", {})
    return {
        "skills": {name: statistics.fmean(asked[task]["accuracy"] for task in tasks) for name, tasks in skills.items()},
        "held_out": {name: score["accuracy"] for name, score in held.items()},
        "mass": {part: _mean(s["mass"] for s in scores.values()) for part, scores in measured.items()},
        "own_mass": {part: _mean(s.get("own_mass") for s in scores.values()) for part, scores in measured.items()},
    }


def points_of(one: Done) -> list[Point]:
    """What a stage measured of held-out tasks on its way and at its end; nothing where there are none."""
    base = one.results["base"].get("held_out", {})
    if not base:
        return []
    was = _mean(s["accuracy"] for s in base.values()) or 0.0
    kept, found = one.results["kept"]["step"], []
    for line in one.results["history"]:
        if line["step"] == 0:
            continue  # where the stage before has ended
        now = _mean(line[f"held_out/{name}/accuracy"] for name in base) or 0.0
        right = _more(base, line, "mass")
        own = _more(base, line, "own_mass") if line["step"] == kept else None
        stage = one.stage
        found.append(Point(stage.arm, stage.seed, stage.name, line["step"], 100 * (was - now), right, own))
    return found


def correlations(points: Sequence[Point]) -> dict[str, dict[str, Any]]:
    """Pearson's r of forgetting with either probe, over all arms and steps and within each arm."""
    found: dict[str, dict[str, Any]] = {}
    for name in ("all arms", *dict.fromkeys(point.arm for point in points)):
        of = [point for point in points if name in ("all arms", point.arm)]
        found[name] = {}
        for probe in ("right", "own"):
            pairs = [(p.forgetting, float(getattr(p, probe))) for p in of if getattr(p, probe) is not None]
            found[name][probe] = {"r": correlation(pairs), "n": len(pairs)}
    return found


def _more(base: Mapping[str, Any], line: Mapping[str, float], name: str) -> float | None:
    """Points of probability more than the base's, a mean over tasks; `None` where one was not probed."""
    now = _mean(line.get(f"held_out/{task}/{name}") for task in base)
    was = _mean(score.get(name) for score in base.values())
    return None if now is None or was is None else 100 * (now - was)


def _mean(values: Iterable[float | None]) -> float | None:
    found = list(values)
    known = [value for value in found if value is not None]
    return statistics.fmean(known) if known and len(known) == len(found) else None
