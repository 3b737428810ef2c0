"""Images and series: decode each patch from the latent plus a learned position.

Source: the patch-wise mean squared error of masked autoencoders (He et al. 2022, arXiv:2111.06377), with the
spatial broadcast of one latent to all positions (Watters et al. 2019, arXiv:1901.07017). A series is an image
of height 1.
Where it bites: an image is decoded at 24 pixels a side at most (the target is average-pooled), a series at
32,768 steps; finer detail, such as the phase of a texture, would crowd what a latent of this size should hold out
of it, and the decoder stays cheaper than any encoder. The waveform of
a long audible sound has little that a latent could predict: such an encoder does better with reconstruct =
"features" or "none".
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from pairalign.align.reconstruct.decoder import Decoder, relative
from pairalign.errors import ConfigError
from pairalign.types import Signal

_SIDE, _PATCH = 24, 4  # pixels
_STEPS, _SHORTEST, _PARTS = 32_768, 8, 64


def patch_error(predicted: Tensor, target: Tensor, spread: Tensor | None = None) -> Tensor:
    """Return the mean squared error of (B, …) over `spread`, a scalar.

    spread: variance of each entry over samples, averaged over entries, in the target's unit squared; default:
        that of this batch, which needs B >= 2. Predicting the mean of all targets then scores 1.
    """
    spread = target.var(0).mean() if spread is None else spread
    return relative((predicted - target).square().mean(), spread, target.square().mean())


class PatchDecoder(Decoder):
    """Decodes (B, latent) to an image (B, …, H, W) or series (B, …, T); sizes must be declared."""

    kind = "patches"

    def __init__(self, signal: Signal, latent: int, hidden: int = 256) -> None:
        self.order, self.lead, self.size = _layout(signal)
        height, width = self.pooled = _pooled(self.size, signal.kind)
        patch = self.patch = _patch(self.pooled, signal.kind)
        grid = self.grid = (math.ceil(height / patch[0]), math.ceil(width / patch[1]))
        self.channels = math.prod(self.lead)
        super().__init__((self.channels, height, width))
        self.trunk = nn.Sequential(nn.Linear(latent, hidden), nn.GELU(), nn.Linear(hidden, hidden))
        self.position = nn.Parameter(torch.randn(grid[0] * grid[1], hidden) * hidden**-0.5)
        self.head = nn.Linear(hidden, self.channels * patch[0] * patch[1])

    def deviation(self, latent: Tensor) -> Tensor:
        """Return (B, channels, *pooled)."""
        patches = self.head(F.gelu(self.trunk(latent)[:, None] + self.position))
        (h, w), (i, j) = self.grid, self.patch
        image = rearrange(patches, "b (h w) (c i j) -> b c (h i) (w j)", h=h, w=w, i=i, j=j)
        return image[..., : self.pooled[0], : self.pooled[1]]

    def score(self, predicted: Tensor, target: Tensor, spread: Tensor) -> Tensor:
        """See `patch_error`."""
        return patch_error(predicted, target, spread)

    def target(self, signal: Tensor) -> Tensor:
        """Return the batch, average-pooled, as (B, channels, *pooled)."""
        image = signal.float().permute(0, *(1 + axis for axis in self.order))
        image = image.reshape(len(signal), self.channels, *self.size)
        return image if self.size == self.pooled else F.adaptive_avg_pool2d(image, self.pooled)

    def restore(self, predicted: Tensor) -> Tensor:
        """Return (B, *signal.shape), interpolated where the target was pooled."""
        if self.size != self.pooled:
            predicted = F.interpolate(predicted, self.size, mode="bilinear", align_corners=False)
        # a series has no axis of its own for the height of 1
        space = self.size[-(len(self.order) - len(self.lead)) :]
        moved = predicted.reshape(len(predicted), *self.lead, *space)
        return moved.permute(0, *(1 + self.order.index(axis) for axis in range(len(self.order))))


def _layout(signal: Signal) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, int]]:
    """Return the axes with the spatial ones last, the sizes of the others, and the (height, width)."""
    shape = tuple(size for size in signal.shape if size is not None)
    names = ("height", "width") if signal.kind == "image" else ("time",)
    if len(shape) != len(signal.shape) or len(shape) < len(names):
        raise ConfigError(
            f'reconstruct="patches" needs fixed sizes, the signal has shape {signal.shape}:'
            ' resize in preprocess(), or choose reconstruct="features" or "none".'
        )
    named = set(names) <= set(signal.axes)
    space = [signal.axes.index(name) if named else len(shape) - len(names) + i for i, name in enumerate(names)]
    lead = [axis for axis in range(len(shape)) if axis not in space]
    size = [shape[axis] for axis in space]
    return (*lead, *space), tuple(shape[axis] for axis in lead), (1 if len(size) == 1 else size[0], size[-1])


def _pooled(size: tuple[int, int], kind: str) -> tuple[int, int]:
    return (min(size[0], _SIDE), min(size[1], _SIDE)) if kind == "image" else (1, min(size[1], _STEPS))


def _patch(pooled: tuple[int, int], kind: str) -> tuple[int, int]:
    if kind == "image":
        return min(pooled[0], _PATCH), min(pooled[1], _PATCH)
    return 1, min(pooled[1], max(_SHORTEST, math.ceil(pooled[1] / _PARTS)))
