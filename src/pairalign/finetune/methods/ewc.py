"""Elastic weight consolidation: full tuning with a spring on every weight, as stiff as the base's Fisher information.

L + λ/2 Σ F (θ − θ_base)², F the mean of squared per-sample gradients on calibration data, scaled to mean 1 so that λ
means the same for every model. Source: arXiv:1612.00796.

Note:
    The springs are on the decoder's projections, where nearly all weights are; norms and embeddings are free.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pairalign.core.bounds import Amount
from pairalign.dormant.linears import find_linears
from pairalign.finetune.collator import Batch
from pairalign.finetune.methods.full import Full
from pairalign.finetune.methods.method import Setup, register_method
from pairalign.masters import precise
from pairalign.sensors.model import SensorModel


@register_method("ewc")
class EWC(Full):
    """weight: λ, for Fisher information of mean 1."""

    def __init__(self, weight: Amount = 1.0) -> None:
        self.weight = weight
        self.springs: list[tuple[nn.Linear, Tensor, Tensor]] = []

    def prepare(self, llm: nn.Module, setup: Setup) -> nn.Module:
        """The model itself; measures the Fisher information first."""
        linears = find_linears(llm)
        fisher = setup.score("fisher", llm, linears)
        stiff = {name: fisher[name] for name in linears}
        mean = torch.stack([value.mean() for value in stiff.values()]).mean().clamp_min(1e-30)
        self.springs = [(m, m.weight.detach().clone(), stiff[name].to(m.weight) / mean) for name, m in linears.items()]
        return super().prepare(llm, setup)

    def penalty(self, model: SensorModel, batch: Batch, logits: Tensor, labels: Tensor) -> Tensor | None:
        """The springs' energy, once an optimizer step."""
        energies = [
            (stiff.to(m.weight.device) * (precise(m.weight) - base.to(m.weight.device)).square()).sum()
            for m, base, stiff in self.springs
        ]
        return 0.5 * self.weight * torch.stack(energies).sum()
