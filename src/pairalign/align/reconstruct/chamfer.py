"""Point sets: a small network folds out 256 points, compared with the cloud by Chamfer distance.

Source: Chamfer distance of Fan et al. 2017 (arXiv:1612.00603), in its mean-of-squares form (Yang et al. 2018,
arXiv:1712.07262). The neighbours are found without a graph and only the distances to them are differentiated,
so that memory is O(B (P + Q)), not O(B P Q).

Note:
    There is no mean cloud. In units of the mean squared radius the best constant cloud scores 0.16 on 512 CAD shapes,
    and this term would weigh a sixth of all others. The spread is therefore half the mean Chamfer distance between
    *different* clouds, as a variance is half the mean squared difference between different samples: the best constant
    cloud then scores 0.64, random points of all shapes 1.2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pairalign.align.reconstruct.decoder import Decoder, mlp, relative
from pairalign.core.errors import ConfigError, SignalError
from pairalign.core.types import Signal

_POINTS = 256
_TARGET_POINTS = 512
_BLOCK = 2**22
"""Distances held at once: 16 MiB in float32."""


def chamfer_distance(x: Tensor, y: Tensor) -> Tensor:
    """Return (B,) mean_p min_q |x_p - y_q|^2 + mean_q min_p |x_p - y_q|^2 of clouds (B, P, D) and (B, Q, D).

    Raises:
        SignalError: an empty cloud, or shapes that do not fit.
    """
    if x.ndim != 3 or y.ndim != 3 or len(x) != len(y) or x.shape[2] != y.shape[2] or not x.shape[1] * y.shape[1]:
        raise SignalError(f"chamfer_distance of {tuple(x.shape)} and {tuple(y.shape)}: give (B, P, D) and (B, Q, D).")
    to_y, to_x = _nearest(x.detach(), y.detach())
    forth = x - y.gather(1, to_y[..., None].expand(x.shape))
    back = y - x.gather(1, to_x[..., None].expand(y.shape))
    return forth.square().sum(2).mean(1) + back.square().sum(2).mean(1)


def chamfer_error(predicted: Tensor, target: Tensor, spread: Tensor | None = None) -> Tensor:
    """Return the mean Chamfer distance of (B, P, 3) and (B, Q, 3) over `spread`, a scalar.

    spread: half the mean Chamfer distance between different targets, in the target's unit squared; default:
        that of neighbours in this batch, which needs B >= 2.
    """
    spread = chamfer_spread(target) if spread is None else spread
    return relative(chamfer_distance(predicted, target).mean(), spread, target.square().mean())


def chamfer_spread(target: Tensor) -> Tensor:
    """Return half the mean Chamfer distance of each cloud's first 256 points to the batch's next cloud."""
    return chamfer_distance(target[:, :_POINTS], target.roll(1, 0)).mean() / 2


class ChamferDecoder(Decoder):
    """Decodes (B, latent) to clouds (B, 256, 3), whatever the number of points in the signal (P, 3 or more).

    Columns after the third (normals, colour) are not reconstructed; of a larger cloud every k-th point is
    compared.
    """

    kind = "chamfer"

    def __init__(self, signal: Signal, latent: int, hidden: int = 256) -> None:
        if len(signal.shape) != 2 or signal.shape[1] is None or signal.shape[1] < 3:
            raise ConfigError(
                f'reconstruct="chamfer" needs points (P, 3 or more), the signal has shape {signal.shape}.'
            )
        super().__init__((3,))
        # starts as a ball of points: those that start in one spot mostly find no target of their own
        self.template = nn.Parameter(torch.randn(_POINTS, 3) * 3**-0.5)
        self.net = mlp(latent, hidden, _POINTS * 3)
        self.register_buffer("radius", torch.ones(()))
        self.radius: Tensor

    def deviation(self, latent: Tensor) -> Tensor:
        """Return (B, 256, 3) around the origin."""
        return self.template + self.net(latent).unflatten(1, (_POINTS, 3))

    def predict(self, latent: Tensor, spread: Tensor) -> Tensor:
        """Return (B, 256, 3), scaled by the clouds' radius; their spread says how they differ."""
        # a copy: the next call updates the radius in place, before the backward pass of this one
        return self.mean + self.radius.clone() * self.deviation(latent)

    def score(self, predicted: Tensor, target: Tensor, spread: Tensor) -> Tensor:
        """See `chamfer_error`."""
        return chamfer_error(predicted, target, spread)

    def target(self, signal: Tensor) -> Tensor:
        """Return at most 512 points of each cloud, (B, Q, 3)."""
        stride = max(1, math.ceil(signal.shape[1] / _TARGET_POINTS))
        return signal[:, ::stride, :3].float()

    def batch_mean(self, target: Tensor) -> Tensor:
        """Return the centroid (3,) of the batch."""
        return target.mean((0, 1))

    def batch_spread(self, target: Tensor) -> Tensor:
        """See `chamfer_spread`."""
        return self.share(chamfer_spread(target))

    def stand_in(self, target: Tensor) -> Tensor:
        """Return the mean squared radius."""
        return _squared_radius(target)

    def observe(self, target: Tensor) -> Tensor:
        """Update the radius too."""
        spread = super().observe(target)
        if self.training and len(target) >= 2:
            self.radius += self.rate() * (self.share(_squared_radius(target)).sqrt() - self.radius)
        return spread


def _squared_radius(target: Tensor) -> Tensor:
    return (target - target.mean(1, keepdim=True)).square().sum(2).mean()


@torch.no_grad()
def _nearest(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return which of y is nearest to each of x (B, P), and which of x to each of y (B, Q), in blocks."""
    origin = y.mean(1, keepdim=True)  # the distance by products cancels badly far from the origin
    x, y = x - origin, y - origin
    step = max(1, _BLOCK // (x.shape[1] * y.shape[1]))
    to_y, to_x = [], []
    for start in range(0, len(x), step):
        one, other = x[start : start + step], y[start : start + step]
        distance = torch.baddbmm(other.square().sum(2)[:, None], one, other.transpose(1, 2), alpha=-2)
        to_y.append(distance.argmin(2))
        to_x.append(distance.add_(one.square().sum(2)[:, :, None]).argmin(1))
    return torch.cat(to_y), torch.cat(to_x)
