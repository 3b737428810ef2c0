"""A Hugging Face vision backbone.

Note:
    Preprocessing is the folder's own image processor; a model built from a configuration gets a plain resize and values
    in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor, nn
from transformers import AutoImageProcessor

from pairalign.core.card import load_card
from pairalign.core.encoder import Encoder
from pairalign.core.errors import ConfigError
from pairalign.core.registry import register_encoder
from pairalign.core.types import Features, Signal
from pairalign.data.picture import check_levels, check_pictures, conformed, rgb_picture
from pairalign_hf.backbone import (
    check_pooling,
    layers_of,
    load_backbone,
    pick_tower,
    pool,
    project,
    tower_config,
    tower_width,
)


@register_encoder("hf_vision")
class HFVision(Encoder):
    """Pictures → patch tokens and their pooled embedding.

    model: hub name or folder; config: of a model with random weights. revision: of the hub. pooling: "cls", "mean",
    "last", "pooler", or "projected": what `get_image_features` of a two-tower model gives. size: pixels of each side;
    the model's own if null. levels: [black, white] of pictures that are no bytes, see `rgb_picture`.
    """

    card = load_card("pairalign_hf", "hf_vision")

    def __init__(
        self,
        model: str | None = None,
        config: dict[str, Any] | None = None,
        revision: str | None = None,
        pooling: str = "cls",
        size: int | None = None,
        levels: Sequence[float] | None = None,
    ) -> None:
        check_pooling(pooling)
        backbone = pick_tower(load_backbone(model, config, revision), pooling, "vision")
        super().__init__(tower_width(backbone, "vision"))
        self.backbone, self.pooling, self.levels = backbone, pooling, check_levels(levels)
        self.restorable = model is not None
        side = int(size if size is not None else getattr(tower_config(backbone, "vision"), "image_size", 224))
        self.processor = _load_processor(model, revision) if model else None
        self.signal = Signal("image", (3, side, side), axes=("channel", "height", "width"))

    def check_data(self, recorded: Mapping[str, Any], where: str, *, learn: bool = False) -> list[str]:
        """Refuse numbers that have no meaning as a picture; say where one would be nearly flat."""
        return check_pictures(recorded, self.levels, where)

    def conform(self, raw: Any, recorded: Mapping[str, Any]) -> Any:
        """A picture of floats or 16 bits by the range of its whole modality."""
        return conformed(raw, recorded, self.levels)

    def preprocess(self, raw: Any) -> Tensor:
        """A picture or an array, as `rgb_picture` reads it → (3, S, S), normalised."""
        raw, side = rgb_picture(raw, self.levels), int(self.signal.shape[1] or 0)
        if self.processor is not None:
            return self.processor(raw, size={"height": side, "width": side}, return_tensors="pt")["pixel_values"][0]
        array = np.asarray(raw.resize((side, side), Image.Resampling.BICUBIC), np.float32)
        return torch.from_numpy(array.transpose(2, 0, 1) / 127.5 - 1)

    def blocks(self) -> Sequence[nn.Module]:
        """The transformer layers."""
        return layers_of(self.backbone)

    def forward(self, batch: Tensor) -> Features:
        """(B, 3, S, S) → tokens (B, T, D), pooled (B, D)."""
        if self.pooling == "projected":
            return Features(*project(self.backbone.get_image_features(pixel_values=batch), self.backbone, "vision"))
        out = self.backbone(pixel_values=batch)
        hidden = out.last_hidden_state
        if hidden.ndim == 4:
            hidden = rearrange(hidden, "b c h w -> b (h w) c")
        mask = torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
        pooler = getattr(out, "pooler_output", None)
        return Features(hidden, pool(hidden, mask, self.pooling, None if pooler is None else pooler.flatten(1)))


def _load_processor(name: str, revision: str | None) -> Any:
    try:
        return AutoImageProcessor.from_pretrained(name, revision=revision, local_files_only=Path(name).is_dir())
    except (OSError, ValueError) as error:
        raise ConfigError(f"the image processor of {name!r} cannot be loaded: {error}") from error
