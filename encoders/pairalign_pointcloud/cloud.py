"""Raw clouds to tensors, and their random views.

A preprocessed cloud is in farthest-point order: its first m points are its farthest-point sample of size m, so the
networks sample for nothing, in every epoch; where there are fewer distinct points than asked, they follow each other
again in that order.

Note:
    Clouds are not centred or scaled unless asked, because size and position may be what the pairs are about, with one
    exception: positions in 64 bits that 32 bits cannot hold, as map coordinates, are centred, for they would fall on a
    few levels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pairalign.core.encoder import Encoder
from pairalign.core.errors import ConfigError, SignalError, did_you_mean
from pairalign.core.types import Features, Signal
from pairalign_pointcloud.columns import (
    COLOURS,
    LAYOUTS,
    check_normals,
    layout,
    take_columns,
    unit_colours,
)
from pairalign_pointcloud.raw import Cloud, Form, form_of, read_cloud, turned
from pairalign_pointcloud.sampling import farthest_points
from pairalign_pointcloud.transforms import build_transforms
from pairalign_pointcloud.unequal import join_clouds, lead_order, rows_of, spread_rows
from pairalign_pointcloud.upright import UPS, as_up, axis_of, turn_between

LOST = 1e-4
"""Largest rounding to 32 bits, as a share of a cloud's radius."""

TARGET = 512
"""Points of a cloud of any size that a reconstruction is compared with."""


class CloudEncoder(Encoder):
    """What both point networks share.

    points: rows of a cloud; fewer are repeated in turn; None for all that each cloud has, which then travel as
    torch-geometric's `Batch`, without padding. columns: what the network reads of a point: "xyz", "xyznormal",
    "xyzrgb", "xyzrgbnormal" or "xyznormalrgb"; of an index or a structured array by name, else the first columns.
    normals: the same as "xyznormal". scale: multiplies positions before the network, so that they are of order 1.
    normalize: "none", "centre" or "unit_ball". unit: of positions. rotate: random rotation of training views, "none",
    "up" (about `up`) or "so3". up: the axis, "z" or "-y", that points up for this network: clouds whose index records
    another are turned; None for that of the first data it is trained on. jitter: its standard deviation, and stretch:
    largest relative change of each axis, in scaled units. axes: of plain arrays, [point, coordinate] or
    [coordinate, point], before what an index records. colours: "unit" for 0 to 1, "bytes" for 0 to 255, "auto" to see
    it. nonfinite: "refuse" a cloud with NaN or infinity, or "drop" those points. transforms: torch-geometric's, by name
    with their arguments, [{name: RandomJitter, translate: 0.01}], see `transforms.py`.
    """

    lead: int = 1
    """Points that come first in farthest-point order where all of a cloud are kept."""

    def __init__(
        self,
        width: int,
        points: int | None,
        normals: bool,
        scale: float,
        normalize: str,
        unit: str,
        rotate: str,
        up: str | None,
        jitter: float,
        stretch: float,
        columns: str | None = None,
        axes: Sequence[str] | None = None,
        colours: str = "auto",
        nonfinite: str = "refuse",
        transforms: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__(width)
        for name, value, known in (
            ("normalize", normalize, ("none", "centre", "unit_ball")),
            ("rotate", rotate, ("none", "up", "so3")),
            ("up", up, (None, "x", "y", "z", *UPS)),
            ("colours", colours, COLOURS),
            ("nonfinite", nonfinite, ("refuse", "drop")),
        ):
            if value not in known:
                raise ConfigError(f"{name}={value!r}.{did_you_mean(str(value), map(str, known))}")
        if points is not None and points < 1:
            raise ConfigError(f"points={points}: give at least 1, or null for all that a cloud has.")
        self.points, self.scale, self.normalize = points, scale, normalize
        self.rotate, self.up, self.jitter, self.stretch = rotate, up, jitter, stretch
        self.columns = layout(columns, normals)
        self.names = LAYOUTS[self.columns]
        self.colours, self.nonfinite = colours, nonfinite
        self.transforms = build_transforms(transforms)
        self.axes = None if axes is None else _checked_axes(axes)
        self.signal = Signal("points", (points, len(self.names)), unit=unit, axes=("point", self.columns))
        self.register_buffer("learnt_up", torch.zeros((), dtype=torch.int64))  # 1 + place in UPS, 0 for not told
        self.learnt_up: Tensor
        self._learnt = 0  # the same, for loader workers: a process that was forked cannot look at a GPU

    @property
    def upright(self) -> str | None:
        """The axis that points up for this network, as an option said or as training met it; None if neither did."""
        if self.up is not None:
            return as_up(self.up, "the encoder")
        return UPS[self._learnt - 1] if self._learnt else None

    def check_data(self, recorded: Mapping[str, Any], where: str, *, learn: bool = False) -> list[str]:
        """Refuse clouds that an index tells this network cannot read; say which are turned."""
        shape = recorded.get("shape")
        form = self._form(recorded)
        if form.names is not None:
            try:
                known = (*form.names, *self.transforms.makes.difference(form.names))
                take_columns(np.zeros((1, len(known))), known, self.names)
            except SignalError as error:
                raise SignalError(f"{where}: {error}") from None
        if form.points is None and shape is not None and len(shape) == 2 and None not in shape:
            try:
                read_cloud(np.zeros(shape), form, len(self.names))
            except SignalError as error:
                raise SignalError(f"{where}: {error}") from None
        return self._check_up(recorded.get("up"), where, learn)

    def _check_up(self, up: str | None, where: str, learn: bool) -> list[str]:
        own = self.upright
        if up is None:
            told = f"note: {where}: does not record which axis is up, and is taken as {own}: pack it with up."
            return [told] if self._learnt else []
        here = as_up(up, where)
        if own is None and learn:
            self._learnt = 1 + UPS.index(here)
            self.learnt_up.fill_(self._learnt)
        turns = own is not None and own != here
        return [f"note: {where}: records up={here}, the encoder's is {own}: its clouds are turned."] if turns else []

    def conform(self, raw: Any, recorded: Mapping[str, Any]) -> Any:
        """A raw cloud with the columns that this network reads, turned upright, from what its index records."""
        cloud = read_cloud(raw, self._form(recorded), len(self.names))
        cloud = self._named(cloud)
        up, own = recorded.get("up"), self.upright
        if up is None or own is None or as_up(up, "the index") == own:
            return cloud
        return turned(cloud, turn_between(as_up(up, "the index"), own))

    def _form(self, recorded: Mapping[str, Any]) -> Form:
        told = form_of(recorded.get("axes"), recorded.get("shape"), len(self.names))
        return told if self.axes is None else Form(form_of(self.axes, None, len(self.names)).points, told.names)

    def _named(self, cloud: Cloud) -> Cloud:
        """The cloud with names for its columns: where nobody said, the first ones are those that the network reads."""
        if cloud.names is not None:
            return cloud
        return replace(cloud, values=take_columns(cloud.values, None, self.names), names=self.names)

    def preprocess(self, raw: Any) -> Tensor:
        """A cloud of M ≥ 1 points, as `raw.py` takes it → (points, 3, 6 or 9) in farthest-point order."""
        cloud = self._named(read_cloud(raw, self._form({}), len(self.names)))
        cloud = self.transforms.read(replace(cloud, values=self._finite(cloud)))
        values = self._checked(take_columns(cloud.values, cloud.names, self.names), cloud.whole)
        values[:, :3] = self._placed(values[:, :3])
        rows = torch.from_numpy(values).float()
        positions = rows[:, :3]
        start = int((positions - positions.mean(0)).square().sum(1).argmax())
        if self.points is None:
            return rows[lead_order(positions, self.lead, start)]
        return rows[farthest_points(positions, self.points, start)]

    def collate(self, values: Sequence[Tensor]) -> Any:
        """A batch (B, points, C), or a `Batch` of torch-geometric where clouds keep their sizes."""
        return super().collate(values) if self.points is not None else join_clouds(values)

    def as_float(self, batch: Any) -> Tensor:
        """The clouds as one tensor: where their sizes differ, rows spread evenly over each."""
        return batch if isinstance(batch, Tensor) else rows_of(batch)[spread_rows(batch.ptr, TARGET)]

    def _finite(self, cloud: Cloud) -> np.ndarray:
        """The points that are finite in what the network reads of them, which are all unless the option says "drop"."""
        values, names = cloud.values, cloud.names or self.names
        read = [names.index(name) for name in self.names if name in names]
        finite = np.isfinite(values[:, read]).all(1)
        if not finite.all() and (self.nonfinite == "refuse" or not finite.any()):
            raise SignalError(
                f"point cloud: {int((~finite).sum())} of {len(values)} points hold NaN or infinity: repair it, or set "
                "the encoder's nonfinite to 'drop'."
            )
        if not finite.all() and cloud.faces is not None:
            raise SignalError("point cloud: a mesh has vertices that hold NaN or infinity: repair it.")
        return values[finite]

    def _checked(self, values: np.ndarray, whole: bool) -> np.ndarray:
        """The values with colours in [0, 1], once they keep what their columns claim."""
        for first, name in enumerate(self.names):
            part = values[:, first : first + 3]
            if name == "nx":
                check_normals(part, first)
            if name == "r":
                values[:, first : first + 3] = unit_colours(part, whole, self.colours)
        return values

    def _placed(self, positions: np.ndarray) -> np.ndarray:
        """Positions centred and scaled as asked, and centred where 32 bits would not hold them."""
        centred = positions - positions.mean(0)
        radius = float(np.linalg.norm(centred, axis=1).max())
        if radius <= 1e-12 * float(np.abs(positions).max()):  # all in one place, whatever the mean is rounded to
            centred, radius = np.zeros_like(centred), 0.0
        if self.normalize == "unit_ball":
            return centred / max(radius, 1e-9)
        lost = float(np.abs(positions - positions.astype(np.float32)).max())
        return centred if self.normalize == "centre" or (radius and lost > LOST * radius) else positions

    def augment(self, value: Tensor, generator: torch.Generator) -> Tensor:
        """Rotate, stretch and jitter, as the options say."""
        turn = self._turn(generator)
        stretch = 1 + self.stretch * (2 * torch.rand(3, generator=generator) - 1)
        noise = self.jitter / self.scale * torch.randn(len(value), 3, generator=generator)
        view = value.clone()
        view[:, :3] = (value[:, :3] @ turn.T) * stretch + noise
        if "nx" in self.names:
            first = self.names.index("nx")
            normals = (value[:, first : first + 3] @ turn.T) / stretch  # normals stretch the other way
            view[:, first : first + 3] = torch.nn.functional.normalize(normals, dim=1)
        return self.transforms.view(view, self.names, generator)

    def _turn(self, generator: torch.Generator) -> Tensor:
        if self.rotate == "so3":
            q, r = torch.linalg.qr(torch.randn(3, 3, generator=generator))
            q = q * r.diagonal().sign()
            return q * q.det()
        angle = float(torch.rand((), generator=generator)) * 2 * math.pi if self.rotate == "up" else 0.0
        axis = axis_of(self.upright or "+z")
        a, b = (i for i in range(3) if i != axis)
        turn = torch.eye(3)
        turn[a, a] = turn[b, b] = math.cos(angle)
        turn[a, b], turn[b, a] = -math.sin(angle), math.sin(angle)
        return turn

    def split(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Scaled positions (…, N, 3), and the input features (…, N, 3, 6 or 9) that go with them."""
        positions = batch[..., :3] * self.scale
        return positions, torch.cat([positions, batch[..., 3:]], -1)

    def forward(self, batch: Any) -> Features:
        """(B, points, 3, 6 or 9), or a `Batch`, → tokens and pooled; see the subclasses."""
        return super().forward(batch)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Weights of earlier versions do not say which axis was up."""
        state_dict.setdefault(f"{prefix}learnt_up", torch.zeros((), dtype=torch.int64))
        super()._load_from_state_dict(state_dict, prefix, *rest)
        self._learnt = int(state_dict[f"{prefix}learnt_up"])


def _checked_axes(axes: Sequence[str]) -> tuple[str, ...]:
    found = tuple(axes)
    if form_of(found, None, 3).points is None:
        raise ConfigError(f"axes={list(axes)}: give [point, coordinate] or [coordinate, point].")
    return found
