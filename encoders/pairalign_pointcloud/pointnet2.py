"""PointNet++: two levels of neighbourhoods, then one global maximum.

Source: PointNet++ (arXiv:1706.02413) with k nearest neighbours as groups, on torch-geometric's pointwise MLPs; the
first layer of a level is applied per point before grouping, W[x_j − c_i; f_j] = W[x_j; f_j] − W'c_i, which saves k-fold
work: torch-geometric's PointNetConv with the same weights gives the same and is slower (bench/point_networks.py). Where
it bites: batch normalisation needs more than one cloud in a training batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import MLP

from pairalign.core.card import load_card
from pairalign.core.registry import register_encoder
from pairalign.core.types import Features
from pairalign_pointcloud.cloud import CloudEncoder
from pairalign_pointcloud.sampling import group, nearest_neighbours
from pairalign_pointcloud.unequal import first_rows, neighbours_within, rows_of


def pointwise(mlp: MLP, values: Tensor) -> Tensor:
    """A torch-geometric MLP over the last axis of values (…, C)."""
    return mlp(values.flatten(0, -2)).unflatten(0, values.shape[:-1])


class SetAbstraction(nn.Module):
    """Groups of `k` neighbours around the first `centres` points, each reduced to its maximum."""

    def __init__(self, features: int, hidden: int, out: int, centres: int, k: int) -> None:
        super().__init__()
        self.centres, self.k = centres, k
        self.point = nn.Linear(features + 3, hidden, bias=False)
        self.centre = nn.Linear(3, hidden, bias=False)
        self.norm = nn.BatchNorm1d(hidden)
        self.mlp = MLP([hidden, out], plain_last=False, norm="batch_norm", bias=False)
        with torch.no_grad():
            self.centre.weight.copy_(self.point.weight[:, :3])

    def forward(self, positions: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """positions (B, N, 3) in farthest-point order, features (B, N, F) → centres (B, M, 3), (B, M, out)."""
        centres = positions[:, : self.centres]
        index = nearest_neighbours(centres, positions, min(self.k, positions.shape[1]))
        points = self.point(torch.cat([positions, features], -1))
        return centres, self._reduce(group(points, index), centres)

    def unequal(self, positions: Tensor, features: Tensor, ptr: Tensor) -> tuple[Tensor, Tensor]:
        """positions (ΣN, 3), features (ΣN, F) of B clouds that begin at `ptr` → as `forward`."""
        centres = positions[first_rows(ptr, self.centres)]
        index = torch.stack(neighbours_within(list(centres), positions, ptr, self.k))
        points = self.point(torch.cat([positions, features], -1))
        return centres, self._reduce(points[index], centres)

    def _reduce(self, grouped: Tensor, centres: Tensor) -> Tensor:
        """Neighbours (B, M, k, hidden) of centres (B, M, 3) → (B, M, out)."""
        hidden = grouped - self.centre(centres)[:, :, None]
        hidden = torch.relu(self.norm(hidden.flatten(0, 2))).unflatten(0, hidden.shape[:3])
        return pointwise(self.mlp, hidden).amax(2)


@register_encoder("pointnet2")
class PointNet2(CloudEncoder):
    """Tokens are the groups of the second level, `pooled` the global maximum.

    width: D. channels: width factor of the levels. groups, neighbours: centres and k of the two levels.
    The rest as in `CloudEncoder`.
    """

    card = load_card("pairalign_pointcloud", "pointnet2")

    def __init__(
        self,
        points: int | None = 512,
        normals: bool = False,
        width: int = 256,
        channels: int = 32,
        groups: tuple[int, int] = (128, 32),
        neighbours: tuple[int, int] = (24, 16),
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
        self.lead = groups[0]
        extra = len(self.names) - 3
        self.first = SetAbstraction(extra, channels, 2 * channels, groups[0], neighbours[0])
        self.second = SetAbstraction(2 * channels, 4 * channels, 4 * channels, groups[1], neighbours[1])
        self.last = MLP(
            [4 * channels + 3, 8 * channels, 16 * channels], plain_last=False, norm="batch_norm", bias=False
        )
        self.token = nn.Linear(16 * channels, width)

    def forward(self, batch: Any) -> Features:
        """(B, points, 3, 6 or 9), or a `Batch` of clouds of any size, → tokens (B, groups[1], D), pooled (B, D)."""
        if isinstance(batch, Tensor):
            positions, features = self.split(batch)
            centres, hidden = self.first(positions, features[..., 3:])
        else:
            positions, features = self.split(rows_of(batch))
            centres, hidden = self.first.unequal(positions, features[..., 3:], batch.ptr)
        centres, hidden = self.second(centres, hidden)
        hidden = pointwise(self.last, torch.cat([centres, hidden], -1))
        return Features(self.token(hidden), self.token(hidden.amax(1)))
