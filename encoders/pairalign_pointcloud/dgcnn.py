"""DGCNN: edge convolutions over a neighbour graph.

Source: DGCNN (arXiv:1801.07829), with one linear layer an edge convolution, so that W[x_j − x_i; x_i] is applied per
point and the maximum over neighbours taken after; pointwise parts are torch-geometric's MLP, and its EdgeConv with the
same weights gives the same and is slower (bench/point_networks.py). The graph is that of the
positions (`dynamic=False`) or rebuilt from the features of each level.

Note:
    A dynamic graph costs a distance matrix a level.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import MLP, global_max_pool, global_mean_pool

from pairalign.core.card import load_card
from pairalign.core.registry import register_encoder
from pairalign.core.types import Features
from pairalign_pointcloud.cloud import CloudEncoder
from pairalign_pointcloud.pointnet2 import pointwise
from pairalign_pointcloud.sampling import group, nearest_neighbours
from pairalign_pointcloud.unequal import first_rows, neighbours_within, pieces, rows_of


class EdgeConvolution(nn.Module):
    """max over neighbours j of ReLU(BN(V x_j + U x_i)); the maximum passes through, as both are monotone."""

    def __init__(self, features: int, out: int) -> None:
        super().__init__()
        self.here = nn.Linear(features, out)
        self.there = nn.Linear(features, out, bias=False)
        self.norm = nn.BatchNorm1d(out)

    def forward(self, features: Tensor, index: Tensor) -> Tensor:
        """features (B, N, F), neighbours (B, N, k) → (B, N, out)."""
        hidden = group(self.there(features), index).amax(2) + self.here(features)
        return torch.relu(self.norm(hidden.flatten(0, 1))).unflatten(0, hidden.shape[:2])


@register_encoder("dgcnn")
class DGCNN(CloudEncoder):
    """Tokens are the points (of clouds of any size the first 256), `pooled` joins their maximum and mean.

    width: D. channels: of the edge convolutions. neighbours: k. dynamic: rebuild the graph at each level.
    The rest as in `CloudEncoder`.
    """

    card = load_card("pairalign_pointcloud", "dgcnn")
    lead = 256

    def __init__(
        self,
        points: int | None = 256,
        normals: bool = False,
        width: int = 256,
        channels: tuple[int, ...] = (48, 64, 128),
        neighbours: int = 16,
        dynamic: bool = False,
        scale: float = 1.0,
        normalize: str = "none",
        unit: str = "m",
        rotate: str = "none",
        up: str | None = None,
        jitter: float = 0.01,
        stretch: float = 0.0,
        columns: str | None = None,
        axes: Sequence[str] | None = None,
        colours: str = "auto",
        nonfinite: str = "refuse",
        transforms: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        given = (columns, axes, colours, nonfinite, transforms)
        super().__init__(width, points, normals, scale, normalize, unit, rotate, up, jitter, stretch, *given)
        self.neighbours, self.dynamic = neighbours, dynamic
        sizes = [len(self.names), *channels]
        self.levels = nn.ModuleList(EdgeConvolution(a, b) for a, b in pairwise(sizes))
        self.last = MLP([sum(channels), 2 * width], plain_last=False, norm="batch_norm", bias=False)
        self.token = nn.Linear(2 * width, width)
        self.join = nn.Linear(4 * width, width)

    def forward(self, batch: Any) -> Features:
        """(B, points, 3, 6 or 9) → tokens (B, points, D), pooled (B, D); of a `Batch`, tokens (B, 256, D)."""
        if not isinstance(batch, Tensor):
            return self._unequal(*self.split(rows_of(batch)), batch)
        positions, hidden = self.split(batch)
        k = min(self.neighbours, positions.shape[1])
        index = nearest_neighbours(positions, positions, k)
        found: list[Tensor] = []
        for level in self.levels:
            if self.dynamic and found:
                index = nearest_neighbours(hidden, hidden, k)
            hidden = level(hidden, index)
            found.append(hidden)
        last = pointwise(self.last, torch.cat(found, -1))
        return Features(self.token(last), self.join(torch.cat([last.amax(1), last.mean(1)], -1)))

    def _unequal(self, positions: Tensor, hidden: Tensor, batch: Any) -> Features:
        """The same over rows (ΣN, C) of clouds of any size: one graph whose neighbours stay within a cloud."""
        ptr = batch.ptr
        index = torch.cat(neighbours_within(pieces(positions, ptr), positions, ptr, self.neighbours))
        found: list[Tensor] = []
        for level in self.levels:
            if self.dynamic and found:
                index = torch.cat(neighbours_within(pieces(hidden, ptr), hidden, ptr, self.neighbours))
            hidden = level(hidden[None], index[None])[0]
            found.append(hidden)
        last = pointwise(self.last, torch.cat(found, -1))
        size = batch.num_graphs
        pooled = [global_max_pool(last, batch.batch, size), global_mean_pool(last, batch.batch, size)]
        return Features(self.token(last[first_rows(ptr, self.lead)]), self.join(torch.cat(pooled, -1)))
