"""What a run compares with: one task as the base answers it, before the first step.

Note:
    It is of the base itself, whatever a method has put around it, so that it is the same for all methods; but a task
    that shows a sensor is read through that run's own fresh bridge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from pairalign.finetune.base_answers import BaseAnswers
from pairalign.finetune.bias import own_mass
from pairalign.finetune.measure import ALONE, TaskScore, free_answers, measure_task, remember_base
from pairalign.finetune.questions import Questions
from pairalign.runtime import Runtime
from pairalign.sensors.model import SensorModel


@dataclass(frozen=True)
class BaseMeasured:
    """score: of one task. answers: what drift is measured from, `None` where it is not asked for. when: local time, to
    the second."""

    score: TaskScore
    answers: BaseAnswers | None
    when: str


def measure_base(
    model: SensorModel,
    questions: Questions,
    *,
    drift: bool,
    vocabulary: Sequence[int] | None = None,
    tokens: int = 0,
    own: bool = False,
    runtime: Runtime = ALONE,
) -> BaseMeasured:
    """Measure a task with the model as it is now; every process of the run takes part and gets all.

    drift: remember the answers, too. vocabulary: tokens of the answer-bias probe. tokens: longest free answer, 0 for
    none. own: probe along the base's own words, too.
    """
    answers = remember_base(model, questions, runtime) if drift else None
    score = measure_task(model, questions, vocabulary=vocabulary, base=answers, runtime=runtime)
    if tokens:
        score = replace(score, contains=free_answers(model, questions, tokens, runtime))
    if own and vocabulary:
        score = replace(score, own_mass=own_mass(model, questions, vocabulary, tokens, runtime))
    return BaseMeasured(score, answers, datetime.now().astimezone().isoformat(timespec="seconds"))
