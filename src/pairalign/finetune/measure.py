"""How well a model answers: exact answers by kind, loss, drift from the base, and the answer-bias probe.

Where it bites: an answer counts if greedy decoding would say exactly it, so a right answer in other words is wrong;
questions with short answers are what this is for. Everything is read along the right answers, in one pass; the probe's
source (arXiv:2510.08564) reads it along what the model says instead, which is the same where that is the right answer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pairalign.evaluate.forgetting import answer_mass, drift, exact_answers
from pairalign.evaluate.intervals import Score, wilson
from pairalign.finetune.collator import IGNORED, Batch
from pairalign.sensors.model import SensorModel


@dataclass(frozen=True)
class TaskScore:
    """kinds: exact answers by kind, with 95 % intervals. accuracy: their mean. loss: nats per answer token. mass: mean
    probability of the probe's vocabulary along the answers. drift: mean KL from the base in nats, along the answers.
    """

    kinds: dict[str, Score]
    accuracy: float
    loss: float
    mass: float | None = None
    drift: float | None = None


def answer_words(batches: Iterable[Batch], end: int | None) -> list[int]:
    """The vocabulary of the answer-bias probe: every token of the answers but `end`, which held-out answers share."""
    found = {token for batch in batches for token in batch.labels.flatten().tolist()}
    return sorted(found - {IGNORED, end})


def answer_logits(model: SensorModel, batch: Batch) -> tuple[Tensor, Tensor]:
    """Logits (B, K, V) that predict the last K columns, which hold all answers, and their labels (B, K)."""
    keep = int((batch.labels != IGNORED).any(0).sum())
    options = {"logits_to_keep": keep + 1} if model.keeps_logits else {}
    logits = model(**batch.inputs, **options).logits
    return logits[:, -keep - 1 : -1], batch.labels[:, -keep:]


def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy in nats, mean over answer tokens."""
    return F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED)


@torch.no_grad()
def base_logits(model: SensorModel, batches: Iterable[Batch]) -> list[Tensor]:
    """What `drift` compares with: answer logits of the model as it is now, in half precision on the CPU."""
    model.eval()
    return [answer_logits(model, batch.to(model.device))[0].half().cpu() for batch in batches]


@torch.no_grad()
def measure_task(
    model: SensorModel,
    batches: Iterable[Batch],
    *,
    vocabulary: Sequence[int] | None = None,
    base: Sequence[Tensor] | None = None,
) -> TaskScore:
    """Measure a task, in evaluation mode. vocabulary: tokens of the answer-bias probe. base: from `base_logits`."""
    model.eval()
    right: dict[str, list[bool]] = defaultdict(list)
    losses: list[float] = []
    masses: list[Tensor] = []
    drifts: list[Tensor] = []
    for n, held in enumerate(batches):
        batch = held.to(model.device)
        logits, labels = answer_logits(model, batch)
        for kind, hit in zip(batch.kinds, exact_answers(logits, labels).tolist(), strict=True):
            right[kind].append(hit)
        losses += [float(answer_loss(logits, labels))] * len(labels)
        if vocabulary is not None:
            masses.append(answer_mass(logits, labels, torch.tensor(vocabulary, device=logits.device)))
        if base is not None:
            drifts.append(drift(base[n].to(logits.device), logits, labels != IGNORED))
    kinds = {kind: wilson(sum(hits), len(hits)) for kind, hits in sorted(right.items())}
    return TaskScore(
        kinds,
        sum(score.value for score in kinds.values()) / len(kinds),
        sum(losses) / len(losses),
        float(torch.cat(masses).mean()) if masses else None,
        float(torch.cat(drifts).mean()) if drifts else None,
    )
