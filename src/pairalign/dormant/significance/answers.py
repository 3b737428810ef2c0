"""What a model is asked and what it should answer: logits at chosen places, and each sample's own loss.

A sample's loss is the mean cross entropy of its answer tokens, those whose label is not −100, each predicted one place
before. It is taken from the logits and not from the model, which averages over a batch's tokens: there a sample with a
long answer would weigh more, and the batch's other samples would change what each of them counts.

Note:
    A sample without an answer has no loss, and is refused.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from pairalign.core.errors import DormantError
from pairalign.dormant.significance.scores import Batch

IGNORED = -100


def kept_logits(model: nn.Module, batch: Batch, places: Tensor) -> Tensor:
    """(B, K, V): the logits at some positions (K,), the labels left aside."""
    cached: dict[str, Any] = {"use_cache": False} if hasattr(model, "generate") else {}
    batch = {name: value for name, value in batch.items() if name != "labels"}  # they are of all positions
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        found: Tensor = model(**cached, **batch, logits_to_keep=places).logits
        return found
    every: Tensor = model(**cached, **batch).logits
    return every[:, places.to(every.device)]


def answer_losses(model: nn.Module, batch: Batch, score: str) -> Tensor:
    """(B,), float32: every sample's loss; raise `DormantError`, which names the score, if one has no answer."""
    labels = batch.get("labels")
    if labels is None:
        raise DormantError(f"score={score!r} needs labels: calibration batches without them have no loss.")
    wanted = labels[:, 1:]
    answered = wanted != IGNORED
    if not bool(answered.any(1).all()):
        raise DormantError(f"score={score!r} needs labels: a calibration sample has no answer: give it one.")
    places = answered.any(0).nonzero()[:, 0]
    logits = kept_logits(model, batch, places).float()
    each = F.cross_entropy(logits.transpose(1, 2), wanted[:, places], ignore_index=IGNORED, reduction="none")
    return each.sum(1) / answered.sum(1)
