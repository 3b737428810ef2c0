"""What all decoders share: latent in, prediction out, error measured against the spread of the targets.

Source: the relative error 1 - R^2 of regression, with running statistics as in batch normalisation (Ioffe &
Szegedy 2015, arXiv:1502.03167). A decoder predicts the *deviation* from the running mean, in units of the
running spread, so that it starts at a score of about 1.0 in any unit, kPa or metres.

Note:
    The statistics are running ones, because those of a small batch are noisy and those of a batch of one are nothing;
    they are buffers and belong to the checkpoint.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pairalign.align.distributed import mean_over_processes
from pairalign.core.errors import SignalError

_MEMORY = 100
"""Batches: running statistics are a plain mean up to this many, an exponential one after."""


class Decoder(nn.Module):
    """Base of the decoders.

    A subclass gives `deviation` (what the network says), `score` (its pure error function), and where the
    defaults do not fit: `target` and `restore` (to and from the signal's own shape), `batch_mean`,
    `batch_spread`.

    kind: the name under which `build_decoder` knows it. processes: of a training run, whose batches, of equal sizes,
    make the statistics together.
    Buffers: `mean` and `spread`, running statistics of the targets; `batches`, how many they have seen.
    """

    kind: str
    processes: int = 1

    def __init__(self, mean_shape: tuple[int, ...], spread_shape: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(mean_shape))
        self.register_buffer("spread", torch.zeros(spread_shape))
        self.register_buffer("batches", torch.zeros(()))
        self.mean: Tensor
        self.spread: Tensor
        self.batches: Tensor

    def forward(self, latent: Tensor) -> Tensor:
        """Predict (B, *signal.shape) from latents (B, d); a decoder says where its shape differs."""
        return self.restore(self.predict(latent, self.spread))

    def error(self, latent: Tensor, target: Tensor) -> Tensor:
        """Return the relative error of predicting `target` (B, *signal.shape) from `latent` (B, d), a scalar.

        0 is perfect, about 1 is the mean of all targets. In training mode, batches of two or more also update
        the running statistics. Targets that never vary score 0: there is nothing to tell about them.
        """
        with torch.no_grad():
            wanted = self.target(target)
            spread = self.observe(wanted)
        return self.score(self.predict(latent, spread).float(), wanted, spread)

    def deviation(self, latent: Tensor) -> Tensor:
        """Return the standardised prediction, shaped like `target`."""
        raise SignalError(f"{type(self).__name__} has no deviation(): write one shaped like target().")

    def score(self, predicted: Tensor, target: Tensor, spread: Tensor) -> Tensor:
        """Return the relative error, a scalar."""
        raise SignalError(f"{type(self).__name__} has no score(): name its error function.")

    def predict(self, latent: Tensor, spread: Tensor) -> Tensor:
        """Return what is compared with `target`."""
        return self.mean + spread.sqrt() * self.deviation(latent)

    def target(self, signal: Tensor) -> Tensor:
        """Return what of a batch (B, *signal.shape) is to be predicted."""
        return signal.float()

    def restore(self, predicted: Tensor) -> Tensor:
        """Bring a prediction to the signal's own shape."""
        return predicted

    def batch_mean(self, target: Tensor) -> Tensor:
        """Return the batch's part of `mean`."""
        return target.mean(0)

    def batch_spread(self, target: Tensor) -> Tensor:
        """Return the expected error of predicting the mean, in the target's own unit, from B >= 2."""
        return self.variance(target).mean()

    def variance(self, target: Tensor) -> Tensor:
        """Return the variance of each entry over the samples of all processes."""
        if self.processes == 1 or not self.training:
            return target.var(0)
        count = self.processes * len(target)
        squares = (target - self.share(target.mean(0))).square().mean(0)
        return self.share(squares) * count / (count - 1)

    def share(self, value: Tensor) -> Tensor:
        """Return the mean of a batch's statistic over all processes; in evaluation each is alone."""
        return mean_over_processes(value) if self.processes > 1 and self.training else value

    def stand_in(self, target: Tensor) -> Tensor:
        """Return a spread for a batch of one, before any larger batch was seen."""
        return target.square().mean().expand_as(self.spread)

    def rate(self) -> Tensor:
        """Return the weight of the newest batch in the running statistics."""
        return 1 / self.batches.clamp(min=1, max=_MEMORY)

    def observe(self, target: Tensor) -> Tensor:
        """Update the running statistics (training only) and return the spread to divide by."""
        many = len(target) >= 2
        if many and self.training:
            self.batches += 1
            rate = self.rate()
            self.mean += rate * (self.share(self.batch_mean(target)) - self.mean)
            self.spread += rate * (self.batch_spread(target) - self.spread)
            # a copy: the next call updates the spread in place, before the backward pass of this one
            return self.spread.clone()
        fresh = self.batch_spread(target) if many else self.stand_in(target)
        return torch.where(self.batches > 0, self.spread, fresh)


def relative(error: Tensor, spread: Tensor, size: Tensor | float = 0.0) -> Tensor:
    """Return the mean of error / spread, without the entries that never vary.

    size: mean square of the target; a spread below 1e-12 of it is rounding, not variation.
    """
    known = spread > 1e-12 * size
    ratio = torch.where(known, error / torch.where(known, spread, 1.0), 0.0)
    return ratio.sum() / known.sum().clamp(min=1)


def mlp(size_in: int, hidden: int, size_out: int) -> nn.Sequential:
    """Return two hidden layers with GELU, the body of most decoders here."""
    return nn.Sequential(
        nn.Linear(size_in, hidden),
        nn.GELU(),
        nn.Linear(hidden, hidden),
        nn.GELU(),
        nn.Linear(hidden, size_out),
    )
