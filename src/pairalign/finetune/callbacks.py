"""What a run measures on its way: the sensor's validation, held-out abilities, drift, and the gate that stops it.

At the end, of what is kept, held-out tasks are asked once more (`with_signals`). What the gate bounds with a signal in
the prompt is measured on the way, too.

Note:
    A measurement is of the weights as they would be kept, after what the method does at the end. Everything that the
    gate has to remember is in the checkpoint: the base's scores, the history, and the best weights so far.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L

from pairalign.align.extras import tell
from pairalign.files import append_line
from pairalign.finetune.base_answers import BaseAnswers
from pairalign.finetune.base_cache import BaseCache, measured_once
from pairalign.finetune.base_measured import BaseMeasured
from pairalign.finetune.gate import HELD_OUT, SIGNALLED, Best, Gate, Measured, flat, forgotten
from pairalign.finetune.measure import ALONE, TaskScore
from pairalign.finetune.measured import add_free_answers, measure_sets, plain, scored
from pairalign.finetune.methods.method import Method
from pairalign.finetune.pull_back import Asked, PullBack
from pairalign.finetune.questions import Questions
from pairalign.finetune.trained import put_back, trained
from pairalign.finetune.with_signals import WithSignals
from pairalign.runtime import Runtime
from pairalign.sensors.model import SensorModel

OPEN = Gate()


class Origin(NamedTuple):
    """What a run that starts from another one is compared with: the base's scores, `answers` that drift is measured
    from, `first` and `taken` as in `EvaluationCallback`, and what the run before measured at its end, where that was
    the same."""

    found: Measured
    answers: dict[str, BaseAnswers]
    first: dict[str, TaskScore]
    taken: dict[str, dict[str, str]]
    begun: Measured | None = None


class EvaluationCallback(L.Callback):
    """Measure every `every` steps (0 for never) and at both ends; `history` has (step, {"validation" | "held_out":
    scores by task}), and where the gate looks at prompts with a signal in them, these as parts of their own.

    gate: what may be lost; beyond it training stops, and the best weights within the bound come back, or those of the
    start: `verdict` says why, `kept` the step. vocabulary: tokens of the answer-bias probe. tokens: longest free
    answer, of the base and of what is kept; 0 for none. own: probe along what these two say themselves, too. cache:
    what other runs measured of the base, on the main process; `taken` says of what comes from there where it lies and
    when it was measured, by task. again: how held-out tasks are asked once more of what is kept, which is `asked_again`
    then.
    pull_back: see `pairalign.finetune.pull_back`, `pull` knows how far; where validation chooses
    it, what is measured on the way stops nothing, for only weights that were pulled back are held to the bound.
    origin: of a run that does not begin at the base; what was learned and forgotten is then counted from there, and
    `history` begins with where it starts.
    """

    def __init__(
        self,
        model: SensorModel,
        method: Method,
        sets: Mapping[str, Sequence[Questions]],
        path: Path | None = None,
        *,
        every: int = 0,
        gate: Gate = OPEN,
        vocabulary: Sequence[int] | None = None,
        tokens: int = 0,
        own: bool = False,
        runtime: Runtime = ALONE,
        cache: BaseCache | None = None,
        again: WithSignals | None = None,
        pull_back: Asked = None,
        origin: Origin | None = None,
    ) -> None:
        self.model, self.method, self.path, self.every = model, method, path, every
        put = again.put(sets.get(HELD_OUT, ())) if again is not None and gate.with_signal is not None else {}
        self.sets: dict[str, Sequence[Questions]] = {**sets, **put}
        self.gate, self.vocabulary, self.tokens = gate, vocabulary, tokens
        self.own = own and bool(vocabulary and tokens)
        self.runtime, self.cache, self.again = runtime, cache, again
        self.pull = PullBack(pull_back)
        self.taken: dict[str, dict[str, str]] = {}
        self.history: list[tuple[int, Measured]] = []
        self.base: dict[str, BaseAnswers] = {}
        self.first: dict[str, TaskScore] = {}  # the base's of the questions that are asked again, where these are fewer
        self.origin, self.begun = None if origin is None else origin.found, None if origin is None else origin.begun
        if origin is not None:
            self.base, self.first, self.taken = origin.answers, origin.first, origin.taken
        self.loggers: Sequence[Any] = ()
        self.asked_again: dict[str, Any] | None = None
        self.best: Best | None = None
        self.verdict: str | None = None
        self.kept: int | None = None
        self.interrupted: Callable[[], bool] = lambda: False
        self._first = self._copy(0, ()) if gate.bounds else None

    def start(self) -> None:
        """Measure the base, or where the run starts, unless a checkpoint has told how it was, or the cache knows."""
        if not self.history:
            self._add(0, self.measure_base() if self.origin is None else self.begun or self.measure())
        elif any(part not in self.reference for part in SIGNALLED.values() if part in self.sets):
            told = "this run began with an earlier version, which measured no prompts with a signal in them"
            warnings.warn(f"{told}: max_forgetting bounds what is lost without one alone.", stacklevel=2)

    def measure_base(self) -> Measured:
        """Measure, or take from the cache, what the base answers, and remember what drift is measured from."""
        with self.method.as_base(self.model.llm) as exact:
            found = {
                part: {q.task.name: self._base(part, q, exact) for q in asked} for part, asked in self.sets.items()
            }
            held_out = self.sets.get(HELD_OUT, ())
            fewer = set(self.again.asked(held_out)) - set(held_out) if self.again is not None else ()
            self.first = {q.task.name: self._base("", q, exact).score for q in fewer}
        self.base = {name: one.answers for name, one in found.get(HELD_OUT, {}).items() if one.answers is not None}
        return {part: {name: one.score for name, one in tasks.items()} for part, tasks in found.items()}

    def measure(self) -> Measured:
        """Measure now, as what is there would be kept."""
        with self.pull.settled(self.method, self.model.llm):
            return measure_sets(self.model, self.sets, self.base, self.vocabulary, self.runtime)

    def close(self, step: int) -> None:
        """Measure the final weights, if they have not been, and leave in the model what is to be kept."""
        if step and self.pull.chooses:
            self._judge(step, self._add(step, self.pull.choose(self.measure, self._within)))
        elif self.history[-1][0] != step:
            self._judge(step, self._add(step, self.measure()))
        self.kept = step
        if self.gate.bounds and (self.verdict or not self._good(step)):
            self._go_back(step)
        if self.kept:
            place = max(n for n, (at, _) in enumerate(self.history) if at == self.kept)
            with self.pull.settled(self.method, self.model.llm):
                self.history[place] = self.kept, self._free(self.history[place][1])
        if self.again is not None and self.sets.get(HELD_OUT):
            self._ask_again(self.again)

    @property
    def reference(self) -> Measured:
        """The scores of the base."""
        return self.origin or self.history[0][1]

    @property
    def after(self) -> Measured:
        """The scores of the weights that are kept."""
        return next(found for step, found in reversed(self.history) if step == self.kept)

    @property
    def learned(self) -> bool:
        """Whether what is kept learned anything; `max_forgetting` alone makes that a condition."""
        return bool(self.kept) or not self.gate.bounds

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        training = self.model.training
        self.runtime.stopping.install()  # Lightning has just put its own handlers before it
        with self.runtime.stopping.at_once():
            self.start()
        self.model.train(training)
        trainer.should_stop = trainer.should_stop or self.verdict is not None

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        step = trainer.global_step
        if not self.every or step % self.every or step == self.history[-1][0] or step >= trainer.max_steps:
            return
        training, found = self.model.training, self._add(step, self.measure())
        lost = None if self.pull.chooses else self._judge(step, found)
        self.model.train(training)
        if lost is not None:
            self.verdict = f"stopped at step {step}: {lost}"
            trainer.should_stop = True

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not any(self.runtime.all_gather_object(self.interrupted())):
            self.close(trainer.global_step)

    @property
    def state_key(self) -> str:
        """What its part of a checkpoint is called, in earlier versions too."""
        return "Watch"

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run has to know."""
        return {
            "history": [[step, plain(found)] for step, found in self.history],
            "origin": None if self.origin is None else plain(self.origin),
            "base": {name: answers.state() for name, answers in self.base.items()},
            "taken": self.taken,
            "first": {name: score.to_dict() for name, score in self.first.items()},
            "best": self.best.state() if self.best else None,
            "verdict": self.verdict,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What `state_dict` gave."""
        self.history = [(step, scored(found)) for step, found in state_dict["history"]]
        origin = state_dict.get("origin")
        self.origin = None if origin is None else scored(origin)
        self.base = {name: BaseAnswers.from_state(state) for name, state in state_dict["base"].items()}
        self.taken = state_dict.get("taken", {})  # earlier versions had no cache
        self.first = {name: TaskScore.from_dict(s) for name, s in state_dict.get("first", {}).items()}
        self.best = Best.from_state(state_dict["best"]) if state_dict["best"] else None
        self.verdict = state_dict["verdict"]

    def _base(self, part: str, asked: Questions, exact: bool) -> BaseMeasured:
        """What the base answers; `exact`: whether what is there is the base to the bit, as the cache's are."""
        put_in = part in SIGNALLED.values()  # a signal, of which the cache knows nothing
        how = {"drift": part == HELD_OUT, "vocabulary": self.vocabulary, "tokens": 0 if put_in else self.tokens}
        how |= {"own": True} if self.own and not put_in else {}  # another name in the cache
        cache = self.cache if exact and not put_in else None
        found, place = measured_once(cache, self.model, asked, self.runtime, **how)
        if part and place is not None:
            self.taken[f"{part}/{asked.task.name}"] = {"from": place, "when": found.when}
        return found

    def _judge(self, step: int, found: Measured) -> str | None:
        """Remember the weights if they are the best so far; say what is lost beyond the bound."""
        if not self.gate.bounds:
            return None
        rank = self.gate.rank(self.reference, found, step)
        if rank is not None and (self.best is None or rank > self.best.rank):
            self.best = self._copy(step, rank)
        return self._beyond(found)

    def _beyond(self, found: Measured) -> str | None:
        """What a measurement has lost that may not be lost."""
        return self.gate.beyond(forgotten(self.reference, found))

    def _within(self, found: Measured) -> bool:
        """Whether a measurement would be kept as one that forgot little enough."""
        return self._beyond(found) is None

    def _good(self, step: int) -> bool:
        return self.gate.rank(self.reference, self.history[-1][1], step) is not None

    def _go_back(self, step: int) -> None:
        """Put the best weights back, or those of the start, and say why."""
        assert self._first is not None
        lost = self._judge(step, self.history[-1][1])
        back = self.best or self._first
        put_back(self.model, back.weights)
        self.method.load_state(back.method)
        self.kept = back.step
        why = self.verdict or f"at the end, step {step}, " + (lost or "validation was no better than the base's")
        self.verdict = f"{why}; the weights of step {back.step} are kept."

    def _copy(self, step: int, rank: tuple[float, ...]) -> Best:
        return Best(step, rank, trained(self.model), self.method.state())

    def _free(self, found: Measured) -> Measured:
        """The same scores with free answers beside them."""
        words = self.vocabulary if self.own else None
        own = {part: asked for part, asked in self.sets.items() if part not in SIGNALLED.values()}
        return add_free_answers(self.model, own, found, self.tokens, words, self.runtime) if self.tokens else found

    def _ask_again(self, again: WithSignals) -> None:
        """Measure what held-out abilities are worth without the sensor and with a signal of it."""
        told: dict[str, Any] = {"vocabulary": self.vocabulary, "tokens": self.tokens, "runtime": self.runtime}
        told["settled"] = partial(self.pull.settled, self.method)
        base = {**self.reference[HELD_OUT], **self.first}
        held = self.model, self.method, self.sets[HELD_OUT], base, self.after
        self.asked_again = again.measure(*held, **told, interrupted=self.interrupted)

    def _add(self, step: int, found: Measured) -> Measured:
        """Remember, and write a line."""
        self.history.append((step, found))
        if self.path is not None:
            append_line(self.path, json.dumps({"step": step, **flat(found)}))
            tell(self.loggers, step, flat(found))
        return found


Watch = EvaluationCallback  # earlier name
