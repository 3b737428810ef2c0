"""A small CNN over gel images: trains from scratch on a laptop.

Note:
    A gel image is photometric, its colours are surface slopes; nothing here may shuffle or drop colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from pairalign.core.card import load_card
from pairalign.core.encoder import Encoder
from pairalign.core.pixels import scale_bytes
from pairalign.core.registry import register_encoder
from pairalign.core.types import Features, Signal
from pairalign.data.picture import check_pictures, conformed
from pairalign_touch.gel import GelReader, jitter_gel, sensor_codes
from pairalign_touch.sensor import SensorToken, check_sensor, with_sensor


@register_encoder("touch_cnn")
class TouchCNN(Encoder):
    """Four strided convolutions over each frame; tokens are the last grid, `pooled` joins its mean and maximum.

    size: pixels along each side. width: D. channels: of the first convolution, doubled twice. cells: side of a grid of
    means that `pooled` also joins, so that it knows where the contact is; 0 for none. frames, background, sensors,
    levels: see `GelReader`.
    """

    card = load_card("pairalign_touch", "touch_cnn")

    def __init__(
        self,
        size: int = 64,
        width: int = 128,
        channels: int = 32,
        frames: int = 1,
        background: str = "none",
        sensors: Sequence[str] = (),
        cells: int = 0,
        levels: Sequence[float] | None = None,
    ) -> None:
        super().__init__(width)
        self.reader = GelReader(size, frames, background, sensors, levels)
        self.signal, self.sensors = self.reader.signal, tuple(sensors)
        sizes = [3, channels, 2 * channels, 4 * channels, width]
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, stride=1 if i == 3 else 2, padding=1), nn.BatchNorm2d(b), nn.ReLU())
            for i, (a, b) in enumerate(pairwise(sizes))
        )
        self.token = SensorToken(len(sensors), width) if sensors else None
        self.places = (
            nn.Sequential(nn.Conv2d(width, 16, 1), nn.AdaptiveAvgPool2d(cells), nn.Flatten()) if cells else None
        )
        self.join = nn.Linear(2 * width + 16 * cells**2, width)

    def check_data(self, recorded: Mapping[str, Any], where: str, *, learn: bool = False) -> list[str]:
        """Refuse numbers that mean no picture and an unknown sensor; say where one would be nearly flat."""
        notes = check_pictures(recorded, self.reader.levels, where)
        return [*notes, *check_sensor(recorded, where, self.sensors, learn=learn)]

    def conform(self, raw: Any, recorded: Mapping[str, Any]) -> Any:
        """A picture of floats or 16 bits by the range of its whole modality, with the sensor type of its data set."""
        return with_sensor(conformed(raw, recorded, self.reader.levels), recorded, self.sensors)

    def preprocess(self, raw: Any) -> Tensor:
        """One raw contact → (frames, 4, S, S) in [0, 1], see `GelReader`."""
        return self.as_float(self.reader.read(raw))

    @property
    def compact_signal(self) -> Signal:
        """Bytes, but where a background is subtracted."""
        return self.reader.compact_signal

    def compact(self, raw: Any) -> Tensor:
        """The same as bytes, see `GelReader`."""
        return self.reader.read(raw)

    def augment(self, value: Tensor, generator: torch.Generator) -> Tensor:
        """A small shift and a small change of light, the same for all frames."""
        return jitter_gel(value, generator)

    def as_float(self, batch: Tensor) -> Tensor:
        """Bytes over 255."""
        return scale_bytes(batch)

    def blocks(self) -> Sequence[nn.Module]:
        """The convolution stages, then the rest."""
        return [*self.stages, self.join]

    def forward(self, batch: Tensor) -> Features:
        """(B, frames, 4, S, S) → tokens (B, frames · S/8 · S/8, D), pooled (B, D)."""
        batch = self.as_float(batch)
        grid = 2 * batch[:, :, :3].flatten(0, 1) - 1
        for stage in self.stages:
            grid = stage(grid)
        tokens = rearrange(grid, "(b frame) c h w -> b (frame h w) c", b=len(batch))
        if self.token is not None:
            tokens = tokens + self.token(sensor_codes(batch))[:, None]
        parts = [tokens.mean(1), tokens.amax(1)]
        if self.places is not None:
            parts.append(self.places(grid).unflatten(0, batch.shape[:2]).mean(1))
        return Features(tokens, self.join(torch.cat(parts, dim=1)))
