"""Frozen towers: predict the tower's own pooled feature, at unit length.

Source: distilling CLIP features as the target of a representation, as in EVA (Fang et al. 2023,
arXiv:2211.07636). For unit vectors |p - t|^2 = 2 - 2 cos(p, t), so that one squared error is also the cosine
error.

Note:
    Features of a frozen tower share a large common part; it is in the running mean and earns nothing here.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from pairalign.align.reconstruct.decoder import Decoder, mlp, relative


def feature_error(predicted: Tensor, target: Tensor, spread: Tensor | None = None) -> Tensor:
    """Return the mean squared error of (B, D) to the unit-length `target` over `spread`, a scalar.

    The prediction is not normalised: then the error is convex in it, and its minimiser is the mean direction.
    spread: variance of the unit-length targets, averaged over D; default: that of this batch, if B >= 2.
    """
    target = F.normalize(target, dim=-1)
    spread = target.var(0).mean() if spread is None else spread
    return relative((predicted - target).square().mean(), spread, target.square().mean())


class FeatureDecoder(Decoder):
    """Decodes (B, latent) to unit-length features (B, features)."""

    kind = "features"

    def __init__(self, features: int, latent: int, hidden: int = 256) -> None:
        super().__init__((features,))
        self.net = mlp(latent, hidden, features)

    def deviation(self, latent: Tensor) -> Tensor:
        """Return (B, features)."""
        return self.net(latent)

    def score(self, predicted: Tensor, target: Tensor, spread: Tensor) -> Tensor:
        """See `feature_error`."""
        return feature_error(predicted, target, spread)

    def target(self, signal: Tensor) -> Tensor:
        """Return the features at unit length."""
        return F.normalize(signal.float(), dim=-1)
