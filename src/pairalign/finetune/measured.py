"""Scores of sets of tasks: measured, with free answers beside them, and as plain values for a checkpoint.

Note:
    Drift is measured of held-out tasks alone, against what the base answered to them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pairalign.finetune.base_answers import BaseAnswers
from pairalign.finetune.bias import own_mass
from pairalign.finetune.gate import HELD_OUT, Measured
from pairalign.finetune.measure import TaskScore, free_answers, measure_task
from pairalign.finetune.questions import Questions
from pairalign.runtime import Runtime
from pairalign.sensors.model import SensorModel

Sets = Mapping[str, Sequence[Questions]]


def measure_sets(
    model: SensorModel,
    sets: Sets,
    base: Mapping[str, BaseAnswers],
    vocabulary: Sequence[int] | None,
    runtime: Runtime,
) -> Measured:
    """Scores by part and task. base: what the base answered, by held-out task."""

    def score(part: str, asked: Questions) -> TaskScore:
        reference = base.get(asked.task.name) if part == HELD_OUT else None
        return measure_task(model, asked, vocabulary=vocabulary, base=reference, runtime=runtime)

    return {part: {q.task.name: score(part, q) for q in asked} for part, asked in sets.items()}


def add_free_answers(
    model: SensorModel,
    sets: Sets,
    found: Measured,
    tokens: int,
    vocabulary: Sequence[int] | None,
    runtime: Runtime,
) -> Measured:
    """The same scores with what free answers, so many tokens long, contain. vocabulary: words whose probability along
    what the model says itself is wanted, too."""

    def said(part: str, asked: Questions) -> TaskScore:
        contains = free_answers(model, asked, tokens, runtime)
        own = own_mass(model, asked, vocabulary, tokens, runtime) if vocabulary else None
        return replace(found[part][asked.task.name], contains=contains, own_mass=own)

    return {**found, **{part: {q.task.name: said(part, q) for q in asked} for part, asked in sets.items()}}


def plain(found: Measured) -> dict[str, Any]:
    """Scores as plain values."""
    return {part: {name: score.to_dict() for name, score in tasks.items()} for part, tasks in found.items()}


def scored(found: Mapping[str, Any]) -> Measured:
    """What `plain` gave."""
    return {part: {name: TaskScore.from_dict(s) for name, s in tasks.items()} for part, tasks in found.items()}
