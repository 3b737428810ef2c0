"""Farthest-point sampling, neighbours and grouping, in plain numpy and torch.

Source: farthest-point sampling and ball query as in PointNet++ (arXiv:1706.02413). torch-geometric's own versions need
compiled packages that have no wheels.

Note:
    Distances are computed densely, (B, M, N) at once, which is right for clouds of a few thousand points.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

AT_ONCE = 1024
"""Points of a cloud all of whose distances are worked out at once, 4 MiB of them."""


def farthest_points(points: Tensor, count: int, start: int = 0) -> Tensor:
    """Indices (count,) of points (N, 3) on the CPU, each the farthest from all before it; the first is `start`.

    A prefix of the result is the farthest-point sample of that size. With fewer than `count` distinct points, they
    follow each other again in the same order, so that none weighs more than once more than another.
    """
    axes = np.ascontiguousarray(points.numpy().T)  # long rows to add, not short ones
    apart = _squares(axes[:, None] - axes[:, :, None]) if len(points) <= AT_ONCE else None
    chosen = np.empty(count, np.int64)
    nearest = np.full(len(points), np.inf, axes.dtype)
    last = start
    for i in range(count):
        chosen[i] = last
        np.minimum(nearest, _squares(axes - axes[:, last, None]) if apart is None else apart[last], out=nearest)
        last = int(nearest.argmax())
    found = torch.from_numpy(chosen)
    if not nearest.any():  # every point was reached: some may be there twice
        picked = points[found]
        again = ((picked[:, None] - picked).square_().sum(2) == 0).tril(-1).any(1)
        found = found[torch.arange(count) % (count - int(again.sum()))]
    return found


def _squares(gap: np.ndarray) -> np.ndarray:
    """Squared lengths of gaps whose three axes come first."""
    x, y, z = gap
    return x * x + y * y + z * z


def nearest_neighbours(queries: Tensor, points: Tensor, k: int) -> Tensor:
    """Indices (B, M, k) of the k points (B, N, 3) nearest to each query (B, M, 3), in no order."""
    return torch.cdist(queries, points).topk(k, largest=False, sorted=False).indices


def ball_neighbours(queries: Tensor, points: Tensor, k: int, radius: float) -> Tensor:
    """As `nearest_neighbours`, but a neighbour beyond `radius` is replaced by the nearest one, as PointNet++ does."""
    distance, index = torch.cdist(queries, points).topk(k, largest=False)
    return torch.where(distance <= radius, index, index[..., :1])


def group(values: Tensor, index: Tensor) -> Tensor:
    """Rows of values (B, N, C) at indices (B, M, k): (B, M, k, C)."""
    batch, queries, k = index.shape
    flat = index.reshape(batch, -1, 1).expand(-1, -1, values.shape[-1])
    return values.gather(1, flat).view(batch, queries, k, values.shape[-1])
