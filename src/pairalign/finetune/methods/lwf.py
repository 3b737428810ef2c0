"""Learning without forgetting: full tuning, held to the base's answers on the new task's own inputs.

The term is `pairalign.finetune.distil`'s; dormant weights and LoRA have it as `train.distil`, without a second model.

Note:
    A frozen copy of the decoder is kept beside the one that trains; all else is shared with it.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from pairalign.core.bounds import Amount, Positive
from pairalign.finetune.collator import Batch
from pairalign.finetune.distil import base_says, divergence
from pairalign.finetune.methods.full import Full
from pairalign.finetune.methods.method import Setup, decoder_parameters, register_method
from pairalign.sensors.model import SensorModel


@register_method("lwf")
class LwF(Full):
    """weight: λ. temperature: T."""

    def __init__(self, weight: Amount = 1.0, temperature: Positive = 2.0) -> None:
        self.weight, self.temperature = weight, temperature
        self.base: list[nn.Module] = []

    def prepare(self, llm: nn.Module, setup: Setup) -> nn.Module:
        """The model itself; a frozen copy is kept, of its decoder alone."""
        decoder = {id(p) for p in decoder_parameters(llm).values()}
        shared = {id(t): t for t in itertools.chain(llm.parameters(), llm.buffers()) if id(t) not in decoder}
        self.base = [copy.deepcopy(llm, shared).eval().requires_grad_(False)]
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
        said = base_says(model, batch, self.base[0].to(logits.device))
        return self.weight * self.temperature**2 * divergence(said, logits, labels, self.temperature)
