"""Farthest-point sampling, neighbours and grouping, in plain batched torch.

Source: farthest-point sampling and ball query as in PointNet++ (arXiv:1706.02413). torch-geometric's own versions need
compiled packages that have no wheels. Where it bites: distances are computed densely, (B, M, N) at once, which is right
for clouds of a few thousand points.
"""

from __future__ import annotations

import torch
from torch import Tensor


def farthest_points(points: Tensor, count: int, start: int = 0) -> Tensor:
    """Indices (B, count) of points (B, N, 3), each the farthest from all before it; the first is `start`.

    A prefix of the result is the farthest-point sample of that size. With fewer than `count` distinct points, they
    follow each other again in the same order, so that none weighs more than once more than another.
    """
    batch, size, _ = points.shape
    axes = points.mT.contiguous()  # (B, 3, N): long rows to add, not short ones
    chosen = torch.empty(batch, count, dtype=torch.int64, device=points.device)
    nearest = torch.full((batch, size), torch.inf, device=points.device, dtype=points.dtype)
    last = torch.full((batch, 1), start, dtype=torch.int64, device=points.device)
    for i in range(count):
        chosen[:, i : i + 1] = last
        gap = axes - axes.gather(2, last[:, None].expand(-1, 3, -1))
        nearest = torch.minimum(nearest, gap.square_().sum(1))
        last = nearest.argmax(1, keepdim=True)
    for cloud in (~nearest.any(1)).nonzero()[:, 0].tolist():  # every point of it was reached: some may be there twice
        picked = points[cloud, chosen[cloud]]
        again = ((picked[:, None] - picked).square_().sum(2) == 0).tril(-1).any(1)
        distinct = count - int(again.sum())
        chosen[cloud] = chosen[cloud, torch.arange(count, device=points.device) % distinct]
    return chosen


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
