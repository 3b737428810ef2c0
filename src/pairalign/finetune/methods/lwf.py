"""Learning without forgetting: full tuning, held to the base's answers on the new task's own inputs.

L + λ T² KL(softmax(base / T) ‖ softmax(tuned / T)), mean over answer tokens, as L is. Source: arXiv:1606.09282.
Where it bites: the base is kept beside the model, twice the memory.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pairalign.core.bounds import Amount, Positive
from pairalign.finetune.collator import IGNORED, Batch
from pairalign.finetune.measure import answer_logits
from pairalign.finetune.methods.full import Full
from pairalign.finetune.methods.method import Setup, register_method
from pairalign.sensors.model import SensorModel


@register_method("lwf")
class LwF(Full):
    """weight: λ. temperature: T."""

    def __init__(self, weight: Amount = 1.0, temperature: Positive = 2.0) -> None:
        self.weight, self.temperature = weight, temperature
        self.base: list[nn.Module] = []

    def prepare(self, llm: nn.Module, setup: Setup) -> nn.Module:
        """The model itself; a frozen copy is kept."""
        self.base = [copy.deepcopy(llm).eval().requires_grad_(False)]
        return super().prepare(llm, setup)

    @property
    def keeps_base(self) -> bool:
        """The frozen copy."""
        return True

    @contextmanager
    def base_beside(self, llm: nn.Module) -> Iterator[nn.Module]:
        """The frozen copy."""
        yield self.base[0]

    def penalty(self, model: SensorModel, batch: Batch, logits: Tensor, labels: Tensor) -> Tensor | None:
        """The distillation term."""
        with torch.no_grad():
            teacher, _ = answer_logits(model, batch, self.base[0].to(logits.device))
        taught = labels != IGNORED
        old, new = (F.log_softmax(x[taught].float() / self.temperature, -1) for x in (teacher, logits))
        distance = F.kl_div(new, old, log_target=True, reduction="none").sum(-1)
        return self.weight * self.temperature**2 * distance.mean()
