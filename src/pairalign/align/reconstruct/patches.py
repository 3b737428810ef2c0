"""Images and series: decode each patch from the latent plus a learned position.

Source: the patch-wise mean squared error of masked autoencoders (He et al. 2022, arXiv:2111.06377), with the
spatial broadcast of one latent to all positions (Watters et al. 2019, arXiv:1901.07017). A series is an image
of height 1.
Half of the error is on the pixels; half is on each patch's *detail*, the standard deviation inside it. The phase of a
texture cannot be predicted from a latent of this size, and then the best guess of a pixel is grey however strong the
texture is: pixels alone would lose the strength of a relief (the hardness of what was touched) or of a vibration.

Note:
    The pixels of an image are decoded at 24 a side at most (the target is average-pooled), a series at 32,768 steps, so
    that the decoder stays cheaper than any encoder. The waveform of a long audible sound has little that a latent could
    predict: such an encoder does better with reconstruct = "features" or "none".
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from pairalign.align.reconstruct.decoder import Decoder, relative
from pairalign.core.errors import ConfigError
from pairalign.core.types import Signal

_SIDE, _PATCH = 24, 4  # pixels
_STEPS, _SHORTEST, _PARTS = 32_768, 8, 64


def patch_error(predicted: Tensor, target: Tensor, spread: Tensor | None = None) -> Tensor:
    """Return the mean squared error of (B, …) over `spread`, a scalar.

    spread: variance of each entry over samples, averaged over entries, in the target's unit squared; default:
        that of this batch, which needs B >= 2. Predicting the mean of all targets then scores 1.
    """
    spread = target.var(0).mean() if spread is None else spread
    return relative((predicted - target).square().mean(), spread, target.square().mean())


def patch_detail(image: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return the standard deviation inside each patch of (B, C, H, W), as (B, C, *grid), in the image's unit."""
    centred = image - image.mean((2, 3), keepdim=True)  # small numbers, so that their squares can be subtracted
    mean, power = F.adaptive_avg_pool2d(centred, grid), F.adaptive_avg_pool2d(centred.square(), grid)
    return (power - mean.square()).clamp(min=0).sqrt()


class PatchDecoder(Decoder):
    """Decodes (B, latent) to an image (B, …, H, W) or series (B, …, T); sizes must be declared."""

    kind = "patches"

    def __init__(self, signal: Signal, latent: int, hidden: int = 256) -> None:
        self.order, self.lead, self.size = _layout(signal)
        height, width = self.pooled = _pooled(self.size, signal.kind)
        patch = self.patch = _patch(self.pooled, signal.kind)
        grid = self.grid = (math.ceil(height / patch[0]), math.ceil(width / patch[1]))
        self.channels = math.prod(self.lead)
        self.parts = [height * width, grid[0] * grid[1]]
        super().__init__((self.channels, sum(self.parts)), (len(self.parts),))
        self.trunk = nn.Sequential(nn.Linear(latent, hidden), nn.GELU(), nn.Linear(hidden, hidden))
        self.position = nn.Parameter(torch.randn(grid[0] * grid[1], hidden) * hidden**-0.5)
        self.head = nn.Linear(hidden, self.channels * (patch[0] * patch[1] + 1))

    def deviation(self, latent: Tensor) -> Tensor:
        """Return (B, channels, pixels + patches)."""
        patches = self.head(F.gelu(self.trunk(latent)[:, None] + self.position))
        (h, w), (i, j) = self.grid, self.patch
        pixels, detail = patches.split([self.channels * i * j, self.channels], dim=-1)
        image = rearrange(pixels, "b (h w) (c i j) -> b c (h i) (w j)", h=h, w=w, i=i, j=j)
        image = image[..., : self.pooled[0], : self.pooled[1]]
        return torch.cat([image.flatten(2), detail.mT], dim=2)

    def predict(self, latent: Tensor, spread: Tensor) -> Tensor:
        """Return (B, channels, pixels + patches), the two parts each in units of their own spread."""
        each = torch.repeat_interleave(spread.sqrt(), torch.tensor(self.parts, device=spread.device))
        return self.mean + each * self.deviation(latent)

    def batch_spread(self, target: Tensor) -> Tensor:
        """Return the variances (2,) of pixels and of detail."""
        return torch.stack([part.mean() for part in self.variance(target).split(self.parts, dim=1)])

    def score(self, predicted: Tensor, target: Tensor, spread: Tensor) -> Tensor:
        """The mean of `patch_error` on pixels and on detail."""
        pixels, detail = (
            patch_error(*part)
            for part in zip(predicted.split(self.parts, 2), target.split(self.parts, 2), spread, strict=True)
        )
        return (pixels + detail) / 2

    def target(self, signal: Tensor) -> Tensor:
        """Return the batch as (B, channels, pixels + patches): average-pooled, and the detail of each patch."""
        image = signal.float().permute(0, *(1 + axis for axis in self.order))
        image = image.reshape(len(signal), self.channels, *self.size)
        pooled = image if self.size == self.pooled else F.adaptive_avg_pool2d(image, self.pooled)
        return torch.cat([pooled.flatten(2), patch_detail(image, self.grid).flatten(2)], dim=2)

    def restore(self, predicted: Tensor) -> Tensor:
        """Return (B, *signal.shape), interpolated where the target was pooled."""
        predicted = predicted[..., : self.parts[0]].unflatten(2, self.pooled)
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
