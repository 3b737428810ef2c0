"""Pictures as bytes until they are a batch: random training views, and the step to the numbers that a network takes.

A picture of bytes is a quarter of one of floats: less to make, to stack and to send to a device, which turns a whole
batch to floats at once. Where it bites: a view is rounded to bytes again, and saturates at black and white as a
camera does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def shift_pixels(value: Tensor, down: int, right: int) -> Tensor:
    """Pixels (…, H, W) moved by whole places, |down| < H, |right| < W; what comes in repeats the edge."""
    for axis, by in ((-2, down), (-1, right)):
        if by:
            size, edge = value.shape[axis], value.narrow(axis, 0 if by > 0 else value.shape[axis] - 1, 1)
            kept = value.narrow(axis, max(0, -by), size - abs(by))
            filler = edge.expand(*(abs(by) if n == value.ndim + axis else s for n, s in enumerate(value.shape)))
            value = torch.cat([filler, kept] if by > 0 else [kept, filler], dim=axis)
    return value


def change_light(value: Tensor, gain: float, offset: Sequence[float]) -> Tensor:
    """Bytes (…, C, H, W) → gain · value + offset, with an offset for each of the C channels, rounded, 0 to 255."""
    levels = np.arange(256) * gain
    channels = []
    for channel, own in zip(value.unbind(-3), offset, strict=True):
        table = (levels + own).round().clip(0, 255).astype(np.uint8).tobytes()
        changed = bytearray(channel.numpy().tobytes().translate(table))
        channels.append(torch.frombuffer(changed, dtype=torch.uint8).view(channel.shape))
    return torch.stack(channels, dim=-3)


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
