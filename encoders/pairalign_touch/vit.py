"""A vision transformer over gel images, in the sizes of TVL's tactile encoder (arXiv:2402.13232).

Note:
    From scratch it needs tens of thousands of contacts; on fewer, `touch_cnn` is the better choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import timm
import torch
from torch import Tensor, nn

from pairalign.core.card import load_card
from pairalign.core.encoder import Encoder
from pairalign.core.errors import ConfigError, did_you_mean
from pairalign.core.pixels import scale_bytes
from pairalign.core.registry import register_encoder
from pairalign.core.types import Features, Signal
from pairalign.data.picture import check_pictures, conformed
from pairalign_touch.gel import GelReader, jitter_gel, sensor_codes
from pairalign_touch.sensor import SensorToken, check_sensor, with_sensor
from pairalign_touch.tower import NONE, colours, load_tower

PRESETS: dict[str, dict[str, Any]] = {
    "mini": {"embed_dim": 48, "depth": 2, "num_heads": 3},
    "tiny": {"embed_dim": 192, "depth": 12, "num_heads": 3},
    "small": {"embed_dim": 384, "depth": 12, "num_heads": 6},
    "base": {"embed_dim": 768, "depth": 12, "num_heads": 12},
}


@register_encoder("touch_vit")
class TouchViT(Encoder):
    """A ViT over each frame; tokens are patches of all frames, `pooled` the mean of the class tokens.

    preset: "mini", "tiny", "small" or "base". size, patch: pixels. tower: a plain vision transformer of timm by name,
    with its own sizes and colours, in the place of preset and patch; weights: a safetensors file of it, "none" for
    random ones, null for those that timm publishes. frames, background, sensors, levels: see
    `GelReader`. masked: share of patches that training leaves out at random, as a masked autoencoder does
    (arXiv:2111.06377).
    """

    card = load_card("pairalign_touch", "touch_vit")

    def __init__(
        self,
        preset: str = "tiny",
        size: int = 224,
        patch: int = 16,
        frames: int = 1,
        background: str = "none",
        sensors: Sequence[str] = (),
        masked: float = 0.0,
        levels: Sequence[float] | None = None,
        tower: str | None = None,
        weights: str | None = None,
    ) -> None:
        if weights is not None and tower is None:
            raise ConfigError(f"weights={weights!r}: are a tower's: name it as tower, such as 'vit_tiny_patch16_224'.")
        if preset not in PRESETS:
            raise ConfigError(f"preset={preset!r}.{did_you_mean(preset, PRESETS)}")
        if tower is None and size % patch:
            raise ConfigError(f"size={size} is no multiple of patch={patch}: choose one that is.")
        if not 0 <= masked < 1:
            raise ConfigError(f"masked={masked}: give a share from 0 to below 1.")
        vit = None if tower is None else load_tower(tower, weights, size, masked)
        super().__init__(PRESETS[preset]["embed_dim"] if vit is None else vit.embed_dim)
        self.reader = GelReader(size, frames, background, sensors, levels)
        self.signal, self.sensors = self.reader.signal, tuple(sensors)
        self.restorable = tower is not None and weights != NONE and not sensors
        self.mean, self.spread = ((0.5,) * 3, (0.5,) * 3) if vit is None else colours(vit)
        self.vit = vit or timm.models.VisionTransformer(
            img_size=size,
            patch_size=patch,
            num_classes=0,
            global_pool="token",
            patch_drop_rate=masked,
            **PRESETS[preset],
        )
        self.token = SensorToken(len(sensors), self.width) if sensors else None

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

    @classmethod
    def bare(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """A tower without its weights."""
        return {**options, "weights": NONE} if options.get("tower") else dict(options)

    def _coloured(self, pictures: Tensor) -> Tensor:
        """(N, 3, S, S) in [0, 1] as the tower was trained on them."""
        if set(self.mean) == set(self.spread) == {0.5}:
            return 2 * pictures - 1
        mean, spread = (torch.tensor(value).to(pictures)[:, None, None] for value in (self.mean, self.spread))
        return (pictures - mean) / spread

    def blocks(self) -> Sequence[nn.Module]:
        """The transformer blocks."""
        return list(self.vit.blocks)

    def forward(self, batch: Tensor) -> Features:
        """(B, frames, 4, S, S) → tokens (B, frames · patches, D), fewer while masked in training; pooled (B, D)."""
        batch = self.as_float(batch)
        x = self.vit.patch_embed(self._coloured(batch[:, :, :3].flatten(0, 1)))
        x = self.vit.norm_pre(self.vit.patch_drop(self.vit._pos_embed(x)))
        if self.token is not None:
            codes = sensor_codes(batch).repeat_interleave(batch.shape[1])
            x = torch.cat([x[:, :1] + self.token(codes)[:, None], x[:, 1:]], dim=1)
        x = self.vit.norm(self.vit.blocks(x)).unflatten(0, batch.shape[:2])
        return Features(x[:, :, 1:].flatten(1, 2), x[:, :, 0].mean(1))
