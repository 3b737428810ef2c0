"""What held-out abilities are worth once training is over: without the sensor, logit by logit, and with a signal there.

Three figures of every held-out task: the base's; those of what is kept, beside how many answer logits of prompts
without the sensor are not the base's to the bit; and those of the same questions with a signal in the prompt that has
nothing to do with them. For reference the latter with updates off, which is what bridge and signal alone do.

Note:
    Only a method that keeps the base beside what it trains can be compared with it (`keeps_base`); of all others
    nothing is claimed. The first questions of a large task stand for it: `n` of `of`, the base's figure among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from pairalign.finetune.collator import IGNORED
from pairalign.finetune.gate import SIGNALLED, Measured, moved
from pairalign.finetune.irrelevant import POSITIONS, Position, SignalQuestions, Signals, first_of
from pairalign.finetune.measure import TaskScore, answer_logits, free_answers, measure_task
from pairalign.finetune.methods.method import Method
from pairalign.finetune.questions import Questions
from pairalign.runtime import Runtime
from pairalign.sensors.model import SensorModel

INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
WITHOUT, OFF = "without", "updates_off"
Settled = Callable[[nn.Module], AbstractContextManager[None]]


@dataclass(frozen=True)
class Bits:
    """How many numbers were compared, and how many of them are not the same in all their bits."""

    compared: int
    differ: int

    @classmethod
    def of(cls, one: Tensor, other: Tensor) -> Bits:
        """Of two tensors of one shape and dtype."""
        as_bits = INTEGERS[one.element_size()]
        return cls(one.numel(), int((one.contiguous().view(as_bits) != other.contiguous().view(as_bits)).sum()))

    @classmethod
    def sum(cls, parts: Iterable[Bits]) -> Bits:
        """Of all together."""
        found = list(parts)
        return cls(sum(one.compared for one in found), sum(one.differ for one in found))


def keeps_base(method: Method) -> bool:
    """Whether the base is there to the bit beside what is trained, or is what it always was."""
    return method.keeps_base or method.leaves == "base"


@contextmanager
def as_base(model: SensorModel, method: Method) -> Iterator[None]:
    """Within it, where `keeps_base`, the base reads what the trained bridge gives, after any step."""
    own = model.llm
    with method.base_beside(own) if method.keeps_base else nullcontext(own) as base:
        model.llm = base
        try:
            yield
        finally:
            model.llm = own


@torch.no_grad()
def compare_with_base(
    model: SensorModel, method: Method, asked: Questions, runtime: Runtime, settled: Settled | None = None
) -> Bits:
    """Answer logits of what would be kept beside those of the base, batch by batch; every process gets the whole."""
    model.eval()
    parts = []
    for _, examples, counts in asked.ask(runtime.rank, runtime.world):
        batch = asked.collate(examples).to(model.device)
        with (settled or method.settled)(model.llm):
            now, labels = answer_logits(model, batch)
        with as_base(model, method):
            base, _ = answer_logits(model, batch)
        if counts:
            parts.append(Bits.of(now[labels != IGNORED], base[labels != IGNORED]))
    return Bits.sum(runtime.all_gather_object(Bits.sum(parts)))


@dataclass(frozen=True)
class WithSignals:
    """How a run asks again: with which signals, and how many questions of a task at most. name: of its method."""

    signals: Signals
    limit: int
    name: str

    def asked(self, questions: Sequence[Questions]) -> list[Questions]:
        """What of each task is asked."""
        return [first_of(one, self.limit) for one in questions]

    def signalled(self, asked: Questions) -> dict[Position, Questions]:
        """Questions that are asked, with a signal at each position; nothing where no task shows a sensor."""
        return {at: SignalQuestions(asked, self.signals, at) for at in POSITIONS if self.signals.by_sensor}

    def put(self, questions: Sequence[Questions]) -> dict[str, list[Questions]]:
        """What of each task is asked with a signal, by part of a measurement."""
        found: dict[str, list[Questions]] = {}
        for one in self.asked(questions):
            for position, asked in self.signalled(one).items():
                found.setdefault(SIGNALLED[position], []).append(asked)
        return found

    def measure(
        self,
        model: SensorModel,
        method: Method,
        held_out: Sequence[Questions],
        base: Mapping[str, TaskScore],
        after: Measured,
        *,
        vocabulary: Sequence[int] | None = None,
        tokens: int = 0,
        runtime: Runtime,
        settled: Settled | None = None,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> dict[str, Any] | None:
        """For results; `None` where the run was told to stop meanwhile. Every process of the run takes part.

        base: of the questions that are asked. after: what is known of the weights that are kept; the rest is asked.
        settled: within it a language model is as it would be kept; the method's own if null. The others: see
            `EvaluationCallback`.
        """
        kept = settled or method.settled

        def score(asked: Questions, within: AbstractContextManager[None], known: TaskScore | None = None) -> TaskScore:
            if any(runtime.all_gather_object(interrupted())):
                raise _InterruptedError
            with within:
                found = known or measure_task(model, asked, vocabulary=vocabulary, runtime=runtime)
                said = free_answers(model, asked, tokens, runtime) if tokens else None
            return replace(found, contains=said)

        scores: dict[str, dict[str, TaskScore]] = {WITHOUT: {}}
        told: dict[str, Any] = {}
        try:
            for whole, asked in zip(held_out, self.asked(held_out), strict=True):
                name = whole.task.name
                scores[WITHOUT][name] = after["held_out"][name] if asked is whole else score(asked, kept(model.llm))
                told[name] = self._compared(model, method, whole, asked, runtime, kept)
                for position, put in self.signalled(asked).items():
                    known = after.get(SIGNALLED[position], {}).get(name)
                    scores.setdefault(position, {})[name] = score(put, kept(model.llm), known)
                    if keeps_base(method):
                        scores.setdefault(f"{OFF}/{position}", {})[name] = score(put, as_base(model, method))
        except _InterruptedError:
            return None
        return self._record(base, scores, told)

    def _compared(
        self,
        model: SensorModel,
        method: Method,
        whole: Questions,
        asked: Questions,
        runtime: Runtime,
        settled: Settled,
    ) -> dict[str, Any]:
        """What of a task was asked, and how far it is the base's."""
        name, count = whole.task.name, len(asked.task)
        sensors = self.signals.sensors(name, count) if self.signals.by_sensor else {}
        told: dict[str, Any] = {"n": count, "of": len(whole.task), "sensors": sensors}
        why = None
        if not keeps_base(method):
            why = f"method {self.name!r} does not keep the base beside what it trains"
        elif whole.task.sensor:
            why = "its own prompts show a sensor"
        bits = None if why is not None else vars(compare_with_base(model, method, asked, runtime, settled))
        alike = bool(sensors) and self._alike(asked)
        return {**told, "identical": bits, "not_compared": why, "alike": alike}

    def _alike(self, asked: Questions) -> bool:
        """Whether the chat template writes both positions alike for a task's first question."""
        first = [next(put.ask()).examples[0] for put in self.signalled(asked).values()]
        talks = [[{"role": "user", "content": example.parts}] for example in first]
        return len(set(asked.collate.processor.apply_chat_template(talks))) == 1

    def _record(
        self, base: Mapping[str, TaskScore], scores: Mapping[str, Mapping[str, TaskScore]], told: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Plain values by task, and the points lost."""
        tasks = {}
        for name, about in told.items():
            found = {how: measured[name].to_dict() for how, measured in scores.items()}
            tasks[name] = {**about, "base": base[name].to_dict(), **_nested(found)}
        lost = {how: _lost({name: base[name] for name in told}, measured) for how, measured in scores.items()}
        came = {sensor: list(named) for sensor, named in self.signals.tasks.items()}
        about = {"seed": self.signals.seed, "limit": self.limit, "signals_from": came}
        return {**about, "tasks": tasks, "forgetting": _nested(lost)}


class _InterruptedError(Exception):
    """Leaves the measuring of a run that was told to stop."""


def _lost(base: Mapping[str, TaskScore], found: Mapping[str, TaskScore]) -> dict[str, Any]:
    """Points lost on average, and the task that lost most, as `results["forgetting"]` has them."""
    change = moved({"held_out": base}, {"held_out": found}, "held_out")
    assert change is not None
    return {"points": 0.0 - change.points, "worst": change.worst, "worst_points": change.worst_points}


def _nested(found: Mapping[str, Any]) -> dict[str, Any]:
    """What is called "a/b" as "b" in a table "a", which is `None` for updates off where nothing is in it."""
    plain = {how: value for how, value in found.items() if "/" not in how}
    off = {how.partition("/")[2]: value for how, value in found.items() if "/" in how}
    return {**plain, OFF: off or None}
