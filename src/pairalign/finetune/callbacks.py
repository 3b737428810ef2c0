"""What a run measures on its way: the sensor's validation, held-out abilities, drift, and the gate that stops it.

Where it bites: the gate looks at held-out abilities, which a user may not have; without them nothing is guarded, and
the learning rate is then to be chosen by the sensor's own validation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from pairalign.evaluate.forgetting import change
from pairalign.files import append_line
from pairalign.finetune.collator import Batch
from pairalign.finetune.measure import TaskScore, base_logits, measure_task
from pairalign.sensors.model import SensorModel

Measured = Mapping[str, Mapping[str, TaskScore]]


class Watch(L.Callback):
    """Measure every `every` steps (0 for never); `history` has (step, {"validation" | "held_out": scores by task}).

    max_forgetting: points of held-out accuracy that may be lost; beyond them training stops, `stopped` says why, and
    the weights of the best measurement within the bound come back. vocabulary: tokens of the answer-bias probe.
    """

    def __init__(
        self,
        model: SensorModel,
        sets: Mapping[str, Mapping[str, Sequence[Batch]]],
        path: Path | None = None,
        *,
        every: int = 0,
        max_forgetting: float | None = None,
        vocabulary: Sequence[int] | None = None,
    ) -> None:
        self.model, self.sets, self.path, self.every = model, sets, path, every
        self.max_forgetting, self.vocabulary = max_forgetting, vocabulary
        self.history: list[tuple[int, Measured]] = []
        self.stopped: str | None = None
        self.base: dict[str, list[Tensor]] = {}
        self.best: tuple[float, int, dict[str, Tensor]] | None = None

    def start(self) -> None:
        """Measure the base."""
        self.base = {name: base_logits(self.model, held) for name, held in self.sets.get("held_out", {}).items()}
        self.measure(0)

    def measure(self, step: int) -> Measured:
        """Measure now, remember, and write a line."""
        found: dict[str, dict[str, TaskScore]] = {}
        for part, tasks in self.sets.items():
            found[part] = {
                name: measure_task(self.model, held, vocabulary=self.vocabulary, base=self.base.get(name))
                for name, held in tasks.items()
            }
        self.history.append((step, found))
        if self.path is not None:
            append_line(self.path, json.dumps({"step": step, **flat(found)}))
        return found

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        step = trainer.global_step
        if not self.every or step % self.every or step == self.history[-1][0] or step >= trainer.max_steps:
            return
        training = self.model.training
        found = self.measure(step)
        self.model.train(training)
        lost = self.forgotten(found)
        if self.max_forgetting is None or lost is None:
            return
        if lost > self.max_forgetting:
            kept = self.best[1] if self.best else 0
            self.stopped = (
                f"stopped at step {step}: held-out abilities lost {lost:.1f} points, more than "
                f"max_forgetting={self.max_forgetting:g}; the weights of step {kept} are kept."
            )
            trainer.should_stop = True
            return
        learned = sum(score.accuracy for score in found.get("validation", {}).values())
        if self.best is None or learned >= self.best[0]:
            self.best = (learned, step, trained(self.model))

    def forgotten(self, found: Measured) -> float | None:
        """Points of held-out accuracy lost since the base, `None` without held-out tasks."""
        if not found.get("held_out"):
            return None
        base, now = ({n: s.accuracy for n, s in m["held_out"].items()} for m in (self.history[0][1], found))
        return -change(base, now).points

    def restore(self, first: Mapping[str, Tensor]) -> None:
        """Put the best weights back, or those of the start where no measurement was within the bound."""
        if self.stopped:
            put_back(self.model, self.best[2] if self.best else first)


def trained(model: torch.nn.Module) -> dict[str, Tensor]:
    """A copy of everything that trains."""
    return {name: p.detach().cpu().clone() for name, p in model.named_parameters() if p.requires_grad}


@torch.no_grad()
def put_back(model: torch.nn.Module, values: Mapping[str, Tensor]) -> None:
    """Write a copy that `trained` made."""
    for name, parameter in model.named_parameters():
        if name in values:
            parameter.copy_(values[name])


def flat(found: Measured) -> dict[str, float]:
    """Scores as one flat dict, ready for JSON."""
    lines: dict[str, float] = {}
    for part, tasks in found.items():
        for name, score in tasks.items():
            lines[f"{part}/{name}/accuracy"] = score.accuracy
            lines[f"{part}/{name}/loss"] = score.loss
            for extra in ("mass", "drift"):
                if getattr(score, extra) is not None:
                    lines[f"{part}/{name}/{extra}"] = getattr(score, extra)
            if len(score.kinds) > 1:
                lines |= {f"{part}/{name}/{kind}": value.value for kind, value in score.kinds.items()}
    return lines
