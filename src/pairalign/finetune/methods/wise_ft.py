"""WiSE-FT: full tuning, then a straight line between the tuned weights and the base's.

θ = (1 − α) θ_base + α θ_tuned. Source: arXiv:2109.01903. `train.pull_back` does the same for every method.
"""

from __future__ import annotations

from torch import nn

from pairalign.core.bounds import Share
from pairalign.dormant.pulled import pull_back
from pairalign.finetune.methods.blended import Blended
from pairalign.finetune.methods.method import register_method


@register_method("wise_ft")
class WiseFT(Blended):
    """alpha: share of the tuned weights, 0 to 1."""

    def __init__(self, alpha: Share = 0.5) -> None:
        self.alpha = alpha

    def finish(self, llm: nn.Module) -> nn.Module:
        """Interpolate."""
        pull_back(self.ends(llm), self.alpha)
        return llm
