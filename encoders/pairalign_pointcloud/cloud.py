"""Raw clouds to tensors, and their random views.

A preprocessed cloud is in farthest-point order: its first m points are its farthest-point sample of size m, so the
networks sample for nothing, in every epoch. Where it bites: clouds are not centred or scaled unless asked, because size
and position may be what the pairs are about; the up axis is the data's, say which with `up`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pairalign.core.encoder import Encoder
from pairalign.core.errors import ConfigError, SignalError, did_you_mean
from pairalign.core.types import Features, Signal
from pairalign_pointcloud.sampling import farthest_points

AXES = {"x": 0, "y": 1, "z": 2}


class CloudEncoder(Encoder):
    """What both point networks share.

    points: rows of a cloud; fewer are repeated. normals: clouds of (N, 6), positions and unit normals. scale:
    multiplies positions before the network, so that they are of order 1. normalize: "none", or "unit_ball". unit: of
    positions. rotate: random rotation of training views, "none", "up" (about `up`) or "so3". jitter: its standard
    deviation, and stretch: largest relative change of each axis, in scaled units.
    """

    def __init__(
        self,
        width: int,
        points: int,
        normals: bool,
        scale: float,
        normalize: str,
        unit: str,
        rotate: str,
        up: str,
        jitter: float,
        stretch: float,
    ) -> None:
        super().__init__(width)
        for name, value, known in (
            ("normalize", normalize, ("none", "unit_ball")),
            ("rotate", rotate, ("none", "up", "so3")),
            ("up", up, tuple(AXES)),
        ):
            if value not in known:
                raise ConfigError(f"{name}={value!r}.{did_you_mean(value, known)}")
        self.points, self.normals, self.scale, self.normalize = points, normals, scale, normalize
        self.rotate, self.up, self.jitter, self.stretch = rotate, up, jitter, stretch
        self.signal = Signal("points", (points, 6 if normals else 3), unit=unit, axes=("point", "coordinate"))

    def preprocess(self, raw: Any) -> Tensor:
        """An array (M, 3 or 6), M ≥ 1 → (points, 3 or 6) in farthest-point order."""
        array = np.asarray(raw, dtype=np.float32)
        columns = 6 if self.normals else 3
        if array.ndim != 2 or array.shape[1] < columns or len(array) < 1:
            raise SignalError(f"point cloud of shape {array.shape}: give (M, {columns}) with M ≥ 1.")
        cloud = torch.from_numpy(np.ascontiguousarray(array[:, :columns]))
        if self.normalize == "unit_ball":
            centred = cloud[:, :3] - cloud[:, :3].mean(0)
            cloud = torch.cat([centred / centred.norm(dim=1).max().clamp(min=1e-9), cloud[:, 3:]], 1)
        positions = cloud[:, :3]
        start = int((positions - positions.mean(0)).square().sum(1).argmax())
        return cloud[farthest_points(positions[None], self.points, start)[0]]

    def augment(self, value: Tensor, generator: torch.Generator) -> Tensor:
        """Rotate, stretch and jitter, as the options say."""
        turn = self._turn(generator)
        stretch = 1 + self.stretch * (2 * torch.rand(3, generator=generator) - 1)
        noise = self.jitter / self.scale * torch.randn(len(value), 3, generator=generator)
        positions = (value[:, :3] @ turn.T) * stretch + noise
        if not self.normals:
            return positions
        normals = (value[:, 3:] @ turn.T) / stretch  # normals stretch the other way
        return torch.cat([positions, torch.nn.functional.normalize(normals, dim=1)], 1)

    def _turn(self, generator: torch.Generator) -> Tensor:
        if self.rotate == "so3":
            q, r = torch.linalg.qr(torch.randn(3, 3, generator=generator))
            q = q * r.diagonal().sign()
            return q * q.det()
        angle = float(torch.rand((), generator=generator)) * 2 * math.pi if self.rotate == "up" else 0.0
        axis = AXES[self.up]
        a, b = (i for i in range(3) if i != axis)
        turn = torch.eye(3)
        turn[a, a] = turn[b, b] = math.cos(angle)
        turn[a, b], turn[b, a] = -math.sin(angle), math.sin(angle)
        return turn

    def split(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Scaled positions (B, N, 3), and the input features (B, N, 3 or 6) that go with them."""
        positions = batch[..., :3] * self.scale
        return positions, torch.cat([positions, batch[..., 3:]], -1)

    def forward(self, batch: Tensor) -> Features:
        """(B, points, 3 or 6) → tokens and pooled; see the subclasses."""
        return super().forward(batch)
