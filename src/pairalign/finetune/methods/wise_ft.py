"""WiSE-FT: full tuning, then a straight line between the tuned weights and the base's.

θ = (1 − α) θ_base + α θ_tuned. Source: arXiv:2109.01903.
"""

from __future__ import annotations

import torch
from torch import nn

from pairalign.core.bounds import Share
from pairalign.finetune.methods.blended import Blended
from pairalign.finetune.methods.method import Setup, decoder_parameters, register_method


@register_method("wise_ft")
class WiseFT(Blended):
    """alpha: share of the tuned weights, 0 to 1."""

    def __init__(self, alpha: Share = 0.5) -> None:
        self.alpha = alpha
        super().__init__()

    def prepare(self, llm: nn.Module, setup: Setup) -> nn.Module:
        """The model itself; the base's decoder is remembered."""
        self.base = {name: p.detach().cpu().clone() for name, p in decoder_parameters(llm).items()}
        return super().prepare(llm, setup)

    @torch.no_grad()
    def finish(self, llm: nn.Module) -> nn.Module:
        """Interpolate."""
        for name, parameter in decoder_parameters(llm).items():
            parameter.lerp_(self.base[name].to(parameter), 1 - self.alpha)
        return llm
