"""Clouds of unequal size in one batch, as torch-geometric's `Batch`: their rows end to end, and where each begins.

Nothing is padded: pointwise layers see exactly the points that there are.

Note:
    Neighbours are looked for cloud by cloud, so many small clouds keep a GPU waiting; where a cloud has fewer points
    than neighbours, the nearest stands for the rest, which a maximum does not see, but batch statistics of training do.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from pairalign_pointcloud.sampling import farthest_points


def join_clouds(values: Sequence[Tensor]) -> Any:
    """Clouds (N_i, C) as one `Batch` with `pos` (ΣN, 3), and the other columns in `x` where there are any."""
    from torch_geometric.data import Batch, Data

    parts = [Data(pos=v[:, :3], x=v[:, 3:] if v.shape[1] > 3 else None, num_nodes=len(v)) for v in values]
    return Batch.from_data_list(parts)


def rows_of(batch: Any) -> Tensor:
    """All rows of a `Batch`, (ΣN, C)."""
    return batch.pos if batch.get("x") is None else torch.cat([batch.pos, batch.x], 1)


def lead_order(positions: Tensor, lead: int, start: int) -> Tensor:
    """The order of points (N, 3) that puts their farthest-point sample of size `lead` first; none twice."""
    ahead = farthest_points(positions, min(lead, len(positions)), start)
    distinct = int((ahead[1:] == start).nonzero()[0]) + 1 if bool((ahead[1:] == start).any()) else len(ahead)
    rest = torch.ones(len(positions), dtype=torch.bool)
    rest[ahead[:distinct]] = False
    return torch.cat([ahead[:distinct], rest.nonzero()[:, 0]])


def first_rows(ptr: Tensor, count: int) -> Tensor:
    """Numbers (B, count) of each cloud's first rows, which follow each other again where it has fewer."""
    size = (ptr[1:] - ptr[:-1])[:, None]
    return ptr[:-1, None] + torch.arange(count, device=ptr.device) % size


def spread_rows(ptr: Tensor, count: int) -> Tensor:
    """Numbers (B, count) of rows spread evenly over each cloud."""
    size = (ptr[1:] - ptr[:-1])[:, None]
    return ptr[:-1, None] + torch.arange(count, device=ptr.device) * size // count


def neighbours_within(queries: Sequence[Tensor], points: Tensor, ptr: Tensor, k: int) -> list[Tensor]:
    """For each cloud's queries (M_i, D) the numbers (M_i, k) of the nearest of its own rows of points (ΣN, D)."""
    found = []
    for query, (first, last) in zip(queries, pairwise(ptr.tolist()), strict=True):
        least = min(k, last - first)
        nearest = torch.cdist(query[None], points[None, first:last])[0].topk(least, largest=False).indices
        found.append(first + torch.cat([nearest, nearest[:, :1].expand(-1, k - least)], 1))
    return found


def pieces(values: Tensor, ptr: Tensor) -> list[Tensor]:
    """Rows (ΣN, C) by cloud."""
    return list(values.split((ptr[1:] - ptr[:-1]).tolist()))
