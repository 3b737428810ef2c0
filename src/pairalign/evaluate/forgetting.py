"""Learning and forgetting: what a language model gained on a sensor's questions and lost on all others.

    learning = mean over tasks of (after − base), forgetting = mean over held-out tasks of (base − after), in points

Source: arXiv:2510.08564, also of the answer-bias probe.

Note:
    Forgetting counts losses only where the mean over tasks loses; look at the worst task, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pairalign.core.errors import DataError


@dataclass(frozen=True)
class Change:
    """Points (0 to 100) that a set of tasks moved on average, and the task that lost most, with its loss."""

    points: float
    worst: str
    worst_points: float


def change(base: Mapping[str, float], after: Mapping[str, float]) -> Change:
    """The change of accuracies (0 to 1) by task; both must name the same tasks."""
    if set(base) != set(after) or not base:
        raise DataError(f"base measures {sorted(base)}, after {sorted(after)}: measure the same tasks.")
    moved = {name: 100 * (after[name] - base[name]) for name in base}
    worst = min(moved, key=lambda name: moved[name])
    return Change(sum(moved.values()) / len(moved) + 0.0, worst, moved[worst] + 0.0)  # no −0.0


def exact_answers(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether greedy decoding would say exactly the labels: (B, T, V), (B, T) with −100 elsewhere → bool (B,).

    Column t of both is the same place: logits there predict the label there.
    """
    return ((logits.argmax(-1) == labels) | (labels < 0)).all(1)


def answer_mass(logits: Tensor, labels: Tensor, vocabulary: Tensor) -> Tensor:
    """Mean over an answer's places of the probability of a set of tokens: (B, T, V), (B, T), (N,) → (B,)."""
    mass = logits.float().softmax(-1)[..., vocabulary].sum(-1)
    return masked_mean(mass, labels >= 0)


def drift(base: Tensor, logits: Tensor, places: Tensor) -> Tensor:
    """Mean KL(base ‖ now) in nats over some places: two (B, T, V), bool (B, T) → (B,)."""
    old, new = base.float().log_softmax(-1), logits.float().log_softmax(-1)
    return masked_mean(F.kl_div(new, old, reduction="none", log_target=True).sum(-1), places)


class Likely(NamedTuple):
    """The likeliest tokens of N distributions: `ids` (N, k), their log-probabilities `logs` (N, k), and that of all
    other tokens together, `rest` (N,), −∞ where there is none."""

    ids: Tensor
    logs: Tensor
    rest: Tensor


def likeliest(logits: Tensor, k: int) -> Likely:
    """Of logits (N, V); everything, where V ≤ k."""
    logs = logits.float().log_softmax(-1)
    kept, ids = logs.topk(min(k, logs.shape[-1]), -1)
    return Likely(ids, kept, logs.scatter(-1, ids, -torch.inf).logsumexp(-1))


def drift_from(base: Likely, logits: Tensor) -> Tensor:
    """KL(base ‖ now) in nats with all tokens that the base finds unlikely taken as one: (N,).

    Never above `drift`, which it is where the vocabulary is no larger than k; below it by at most what the base gives
    the rest, times the KL within the rest.
    """
    logs = logits.float().log_softmax(-1)
    ids = base.ids.long()
    rest = logs.scatter(-1, ids, -torch.inf).logsumexp(-1)
    moved = (base.logs.exp() * (base.logs - logs.gather(-1, ids))).sum(-1)
    return moved + torch.where(base.rest.isfinite(), base.rest.exp() * (base.rest - rest), 0.0)


def masked_mean(values: Tensor, places: Tensor) -> Tensor:
    """Mean of (B, T) over the true places of each row."""
    return (values * places).sum(1) / places.sum(1).clamp_min(1)
