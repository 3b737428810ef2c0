"""Pictures as bytes until they are a batch: random training views, and the step to the numbers that a network takes.

A picture of bytes is a quarter of one of floats: less to make, to stack and to send to a device, which turns a whole
batch to floats at once.

Note:
    A view is rounded to bytes again, and saturates at black and white as a camera does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor


def resize_pixels(picture: Image.Image, size: tuple[int, int], method: Literal["bilinear", "bicubic"]) -> Tensor:
    """An RGB picture → bytes (3, *size), as Pillow resizes it but for rounding (two of 255 levels at most, none in four
    of five pixels), in a third of its time.
    """
    if picture.size == size[::-1]:
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]
    return F.interpolate(pixels, size, mode=method, antialias=True, align_corners=False)[0]


def shift_pixels(value: Tensor, down: int, right: int) -> Tensor:
    """Pixels (…, H, W) moved by whole places, |down| < H, |right| < W; what comes in repeats the edge."""
    moved = torch.empty(value.shape, dtype=value.dtype)
    (to_y, from_y), (to_x, from_x) = _overlap(down), _overlap(right)
    moved[..., to_y, to_x] = value[..., from_y, from_x]
    for axis, by in ((-1, right), (-2, down)):  # rows last: they take the corners along
        size = value.shape[axis]
        if by > 0:
            moved.narrow(axis, 0, by).copy_(moved.narrow(axis, by, 1))
        elif by < 0:
            moved.narrow(axis, size + by, -by).copy_(moved.narrow(axis, size + by - 1, 1))
    return moved


def _overlap(by: int) -> tuple[slice, slice]:
    """Where the pixels that stay in the picture go, and come from."""
    return (slice(by, None), slice(None, -by or None)) if by >= 0 else (slice(None, by), slice(-by, None))


def change_light(value: Tensor, gain: float, offset: Sequence[float | None]) -> Tensor:
    """Bytes (…, C, H, W) → gain · value + offset, rounded, 0 to 255, with an offset for each of the C channels; one of
    `None` stays as it is.
    """
    pixels, levels = value.numpy(), np.arange(256) * gain
    changed = np.empty(pixels.shape, np.uint8)
    for n, own in enumerate(offset):
        if own is None:
            changed[..., n, :, :] = pixels[..., n, :, :]
            continue
        table = (levels + own).round().clip(0, 255).astype(np.uint8).tobytes()
        channel = np.frombuffer(pixels[..., n, :, :].tobytes().translate(table), np.uint8)
        changed[..., n, :, :] = channel.reshape(changed[..., n, :, :].shape)
    return torch.from_numpy(changed)


def random_shift(generator: torch.Generator, size: int, share: float) -> tuple[int, int]:
    """(down, right): each uniform over the whole pixels up to `share` of `size`, at least one."""
    most = max(1, round(share * size))
    right, down = (most - torch.randint(0, 2 * most + 1, (2,), generator=generator)).tolist()
    return down, right


def scale_bytes(batch: Tensor, mean: Sequence[float] = (), std: Sequence[float] = ()) -> Tensor:
    """Bytes (…, C, H, W) → float32 value / 255, and where they are given (that − mean) / std by channel.

    A batch of floats is one that an earlier version made, or a user by hand, and stays.
    """
    if batch.is_floating_point():
        return batch
    scaled = batch.float().div_(255)
    if not mean:
        return scaled
    centre, spread = (scaled.new_tensor(part).view(-1, 1, 1) for part in (mean, std))
    return scaled.sub_(centre).div_(spread)
