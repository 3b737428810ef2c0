"""The paired change of every ability, before and after, and forgetting in points.

    change(task) = 100 (score of after − score of base) over the same samples,  forgetting = − mean over tasks

Intervals are paired percentile bootstraps: a resample draws the same samples on both sides. Where no sample moved, the
Wilson bound of the share that could have moved stands in. Source: Efron & Tibshirani 1993; forgetting as in
arXiv:2510.08564.

Note:
    Logs say nothing of which samples share a picture, so samples count one by one; and an average over tasks can hide
    one that is lost, so the worst is named.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pairalign.core.errors import DataError
from pairalign.evaluate.abilities.logs import ResultFolder, TaskLog, open_results
from pairalign.evaluate.abilities.suites import ABILITIES, Ability
from pairalign.evaluate.forgetting import Change, change
from pairalign.evaluate.intervals import LEVEL, SAMPLES, Score, resample_weights, wilson
from pairalign.evaluate.report import text_table


@dataclass(frozen=True)
class TaskChange:
    """base, after: scores counted from the samples, 0 to 1. reported: what lmms-eval says, on the same scale, `None`
    where it says nothing. change: in points; its chance is 0, no change.
    """

    ability: Ability
    base: float
    after: float
    reported: tuple[float | None, float | None]
    change: Score


@dataclass(frozen=True)
class Comparison:
    """By task; `total`: of `forgetting.change`. forgetting: points lost on average, with its interval. ignored: tasks
    of either side that are no ability known here.
    """

    models: tuple[str, str]
    tasks: dict[str, TaskChange]
    total: Change
    forgetting: Score
    ignored: list[str]
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """For `write_metrics`."""
        return {
            "base": self.models[0],
            "after": self.models[1],
            "tasks": {
                name: {
                    "title": t.ability.title,
                    "metrics": t.ability.metrics,
                    "base": t.base,
                    "after": t.after,
                    "reported": {"base": t.reported[0], "after": t.reported[1]},
                    "change_points": t.change,
                }
                for name, t in self.tasks.items()
            },
            "forgetting_points": self.forgetting,
            "worst": {"task": self.total.worst, "points": self.total.worst_points},
            "ignored": self.ignored,
            "seed": self.seed,
        }

    @property
    def table(self) -> str:
        """For a terminal; every change beside its 95 % interval."""
        rows: list[list[Any]] = [
            [t.ability.title, t.change.n, 100 * t.base, 100 * t.after, t.change] for t in self.tasks.values()
        ]
        head = ["ability", "n", "before", "after", "change in points / no change"]
        lost = self.forgetting
        lines = [text_table(head, rows, title=f"{self.models[0]} → {self.models[1]}")]
        lines.append(f"forgetting {lost.value:+.2f} [{lost.low:+.2f}, {lost.high:+.2f}] points on average over tasks")
        lines.append(f"worst: {self.total.worst} {self.total.worst_points:+.2f}")
        return "\n".join(lines)


def compare_results(base: str | Path, after: str | Path, *, tasks: Sequence[str] = (), seed: int = 0) -> Comparison:
    """Compare two result folders of lmms-eval on the `tasks`, by default on all abilities that either has.

    Raise `DataError` where a task is missing on one side, or the sides differ in samples, prompts, shots or version.
    """
    sides = open_results(base), open_results(after)
    either = set(sides[0].files) | set(sides[1].files)
    names = list(tasks) or [name for name in ABILITIES if name in either]
    unknown = [name for name in names if name not in ABILITIES]
    if unknown or not names:
        what = f"tasks={unknown[0]!r} is" if unknown else f"tasks: {', '.join(sorted(either))} are"
        raise DataError(f"{what} none of the abilities known here: {', '.join(ABILITIES)}.")
    found, draws = {}, []
    for n, name in enumerate(names):
        found[name], drawn = _compare(ABILITIES[name], sides, seed + n)
        draws.append(drawn)
    total = change({n: t.base for n, t in found.items()}, {n: t.after for n, t in found.items()})
    still = sum(t.change.high - t.change.value for t in found.values()) / len(found)
    lost = _score(-total.points, -torch.stack(draws).mean(0), sum(t.change.n for t in found.values()), still)
    return Comparison((sides[0].model, sides[1].model), found, total, lost, sorted(either - ABILITIES.keys()), seed)


def _compare(ability: Ability, sides: tuple[ResultFolder, ResultFolder], seed: int) -> tuple[TaskChange, Tensor]:
    logs = sides[0].read(ability.task), sides[1].read(ability.task)
    check_pair(*logs)
    units = [_units(ability, log) for log in logs]
    keys = sorted(units[0])
    if units[1].keys() != units[0].keys() or any(units[0][k][0] != units[1][k][0] for k in keys):
        raise DataError(f"task {ability.task}: base and after group their samples differently: run both again.")
    values = torch.tensor([[side[key][1] for key in keys] for side in units], dtype=torch.float64)
    strata = [units[0][key][0] if ability.strata else "" for key in keys]
    means = _stratified(values, strata)
    ones = torch.ones(1, len(keys), dtype=torch.float64)
    scores = [float(score) for score in means(ones)[:, 0]]
    drawn = torch.cat([means(block) for block in resample_weights(len(keys), samples=SAMPLES, seed=seed)], 1)
    moved = 100 * (drawn[1] - drawn[0])
    reported = tuple(_reported(ability, log) for log in logs)
    result = TaskChange(
        ability, scores[0], scores[1], (reported[0], reported[1]),
        _score(100 * (scores[1] - scores[0]), moved, len(keys), 100 * wilson(0, len(keys)).high),
    )  # fmt: skip
    return result, moved


def check_pair(base: TaskLog, after: TaskLog) -> None:
    """Raise `DataError` unless both sides answered the same questions, asked in the same way."""
    for name, value in base.facts.items():
        if value != after.facts[name]:
            raise DataError(
                f"task {base.task}: {name} is {value} for base and {after.facts[name]} for after: run both alike."
            )
    if base.samples.keys() != after.samples.keys():
        raise DataError(
            f"task {base.task}: base has {len(base.samples)} samples, after {len(after.samples)}, "
            f"{len(base.samples.keys() & after.samples.keys())} of them the same: run both with the same --limit."
        )
    for key, sample in base.samples.items():
        for name in ("target", "input"):
            if sample.get(name) != after.samples[key].get(name):
                raise DataError(
                    f"task {base.task}, doc_id {key}: {name} differs between base and after: run both with the same "
                    "version of lmms-eval and of the data."
                )


def _units(ability: Ability, log: TaskLog) -> dict[str, tuple[str, float]]:
    """Stratum and value by unit."""
    values: dict[str, list[float]] = defaultdict(list)
    strata = {}
    for key, record in log.samples.items():
        try:
            counted = ability.count(record)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, StopIteration) as error:
            wanted = " or ".join(ability.metrics)
            raise DataError(
                f"{log.path.parent}: task {log.task}, doc_id {key} has no {wanted} to count ({error!r}): its log is of "
                "another version of lmms-eval."
            ) from error
        if not 0 <= counted.value <= 1:
            raise DataError(f"{log.path.parent}: task {log.task}, doc_id {key} scores {counted.value}: not in 0 to 1.")
        values[counted.unit].append(counted.value)
        strata[counted.unit] = counted.stratum
    return {unit: (strata[unit], ability.join(found)) for unit, found in values.items()}


def _stratified(values: Tensor, strata: list[str]) -> Any:
    """weights (R, n) → means (2, R) of both rows of `values` (2, n), each the mean over strata that were drawn."""
    names = sorted(set(strata))
    member = torch.tensor([[s == name for name in names] for s in strata], dtype=torch.float64)

    def means(weights: Tensor) -> Tensor:
        size = weights @ member
        return torch.stack([((weights * row) @ member / size).nanmean(1) for row in values])

    return means


def _reported(ability: Ability, log: TaskLog) -> float | None:
    found = [log.score(metric) for metric in ability.metrics]
    numbers = [value for value in found if value is not None]
    return sum(numbers) / ability.full if len(numbers) == len(found) else None


def _score(value: float, draws: Tensor, n: int, still: float) -> Score:
    """still: half the width where no resample differs from another, since nothing moved."""
    tail = (1 - LEVEL) / 2
    low, high = float(draws.quantile(tail)), float(draws.quantile(1 - tail))
    return Score(value, low - still, high + still, n, 0.0) if low == high else Score(value, low, high, n, 0.0)


def disagreements(tasks: Mapping[str, TaskChange], tolerance: float = 0.001) -> list[str]:
    """Where the count from samples is not what lmms-eval reports, in words."""
    found = []
    for name, task in tasks.items():
        for side, counted, said in zip(("base", "after"), (task.base, task.after), task.reported, strict=True):
            if said is None:
                found.append(f"{name}: lmms-eval reports no score for {side}; {100 * counted:.2f} is counted here.")
            elif abs(said - counted) > tolerance:
                found.append(f"{name}: lmms-eval reports {100 * said:.2f} for {side}, counted {100 * counted:.2f}.")
    return found
