"""Plain vectors (joint torques, wrench, scalars): squared error, each entry in units of its own spread.

Source: 1 - R^2 per entry, averaged.

Note:
    The entries of one vector may have different units (newton, newton metres); a common variance would leave only the
    largest. Entries that never vary are left out.
"""

from __future__ import annotations

import math

from torch import Tensor

from pairalign.align.reconstruct.decoder import Decoder, mlp, relative
from pairalign.core.errors import ConfigError
from pairalign.core.types import Signal


def value_error(predicted: Tensor, target: Tensor, spread: Tensor | None = None) -> Tensor:
    """Return the mean over entries of mean squared error over variance of (B, D), a scalar.

    spread: (D,) variance of each entry over samples; default: that of this batch, which needs B >= 2.
    """
    spread = target.var(0) if spread is None else spread
    return relative((predicted - target).square().mean(0), spread, target.square().mean(0))


class ValueDecoder(Decoder):
    """Decodes (B, latent) to a vector signal of declared size."""

    kind = "values"

    def __init__(self, signal: Signal, latent: int, hidden: int = 256) -> None:
        sizes = tuple(size for size in signal.shape if size is not None)
        if len(sizes) != len(signal.shape):
            raise ConfigError(f'reconstruct="values" needs fixed sizes, the signal has shape {signal.shape}.')
        super().__init__((math.prod(sizes),), (math.prod(sizes),))
        self.sizes = sizes
        self.net = mlp(latent, hidden, math.prod(sizes))

    def deviation(self, latent: Tensor) -> Tensor:
        """Return (B, D)."""
        return self.net(latent)

    def score(self, predicted: Tensor, target: Tensor, spread: Tensor) -> Tensor:
        """See `value_error`."""
        return value_error(predicted, target, spread)

    def target(self, signal: Tensor) -> Tensor:
        """Return the batch as (B, D)."""
        return signal.float().flatten(1)

    def restore(self, predicted: Tensor) -> Tensor:
        """Return (B, *signal.shape)."""
        return predicted.unflatten(1, self.sizes)

    def batch_spread(self, target: Tensor) -> Tensor:
        """Return the variance (D,)."""
        return self.variance(target)
