"""The image tower of an open_clip model.

Note:
    Tokens are projected into the space of `pooled`, so that both have one width; preprocessing is open_clip's own
    evaluation transform of that model, up to its mean and standard deviation, which `forward` applies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from einops import rearrange
from open_clip.modified_resnet import ModifiedResNet
from open_clip.transform import PreprocessCfg, image_transform_v2
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn
from torchvision.transforms import Compose, Normalize, ToTensor

from pairalign.core.card import load_card
from pairalign.core.encoder import Encoder
from pairalign.core.pixels import change_light, random_shift, scale_bytes, shift_pixels
from pairalign.core.registry import register_encoder
from pairalign.core.types import Features, Signal
from pairalign.data.picture import check_levels, check_pictures, conformed, rgb_picture
from pairalign_openclip.towers import load_model, restorable


@register_encoder("openclip_image")
class OpenClipImage(Encoder):
    """Pictures → patch tokens and the model's image embedding.

    model, pretrained, config: see `load_model`. shift, light: largest shift (share of the side) and change of
    brightness and contrast of a training view. levels: [black, white] of pictures that are no bytes, see `rgb_picture`.
    """

    card = load_card("pairalign_openclip", "openclip_image")
    tower: Any

    def __init__(
        self,
        model: str | None = None,
        pretrained: str | None = None,
        config: str | dict[str, Any] | None = None,
        shift: float = 0.06,
        light: float = 0.1,
        levels: Sequence[float] | None = None,
    ) -> None:
        loaded = load_model(model, pretrained, config)
        tower: Any = loaded.visual
        side = tower.image_size[0] if isinstance(tower.image_size, tuple) else tower.image_size
        super().__init__(int(tower.output_dim) if hasattr(tower, "output_dim") else int(loaded.embed_dim))
        self.tower, self.shift, self.light, self.levels = tower, shift, light, check_levels(levels)
        self.restorable = restorable(pretrained, model)
        self.signal = Signal("image", (3, side, side), axes=("channel", "height", "width"))
        known = PreprocessCfg(**{**getattr(tower, "preprocess_cfg", {}), "size": side})
        self.mean, self.std = known.mean, known.std
        steps = image_transform_v2(known, is_train=False).transforms
        self.transform = Compose([step for step in steps if not isinstance(step, (ToTensor, Normalize))])
        if isinstance(tower, VisionTransformer):
            tower.output_tokens = True

    def check_data(self, recorded: Mapping[str, Any], where: str, *, learn: bool = False) -> list[str]:
        """Refuse numbers that have no meaning as a picture; say where one would be nearly flat."""
        return check_pictures(recorded, self.levels, where)

    def conform(self, raw: Any, recorded: Mapping[str, Any]) -> Any:
        """A picture of floats or 16 bits by the range of its whole modality."""
        return conformed(raw, recorded, self.levels)

    def preprocess(self, raw: Any) -> Tensor:
        """A picture or an array, as `rgb_picture` reads it → (3, S, S), normalised."""
        return self.as_float(self._pixels(raw))

    @property
    def compact_signal(self) -> Signal:
        """Bytes."""
        return replace(self.signal, dtype="uint8", range=(0, 255))

    def compact(self, raw: Any) -> Tensor:
        """The same before normalisation, as bytes."""
        return self._pixels(raw)

    def _pixels(self, raw: Any) -> Tensor:
        pixels = np.asarray(self.transform(rgb_picture(raw, self.levels)))
        return torch.from_numpy(pixels.transpose(2, 0, 1).copy())

    def augment(self, value: Tensor, generator: torch.Generator) -> Tensor:
        """A random shift and a small change of light."""
        moved = shift_pixels(value, *random_shift(generator, value.shape[-1], self.shift))
        gain, offset = (self.light * (2 * torch.rand(2, generator=generator) - 1)).tolist()
        if value.is_floating_point():
            return moved * (1 + gain) + offset
        offsets = [255 * (offset * std - mean * gain) for mean, std in zip(self.mean, self.std, strict=True)]
        return change_light(moved, 1 + gain, offsets)

    def as_float(self, batch: Tensor) -> Tensor:
        """(…, 3, S, S) bytes → normalised floats."""
        return scale_bytes(batch, self.mean, self.std)

    def blocks(self) -> Sequence[nn.Module]:
        """Transformer blocks or residual layers, and the projection with the last."""
        if isinstance(self.tower, VisionTransformer):
            return list(self.tower.transformer.resblocks)
        if isinstance(self.tower, ModifiedResNet):
            return [self.tower.layer1, self.tower.layer2, self.tower.layer3, self.tower.layer4, self.tower.attnpool]
        return list(self.tower.children())

    def forward(self, batch: Tensor) -> Features:
        """(B, 3, S, S) → tokens (B, patches, D), pooled (B, D)."""
        batch = self.as_float(batch)
        if isinstance(self.tower, VisionTransformer):
            pooled, tokens = self.tower(batch)
            return Features(tokens if self.tower.proj is None else tokens @ self.tower.proj, pooled)
        if isinstance(self.tower, ModifiedResNet):
            found = self.tower.forward_intermediates(batch, indices=1)
            grid = rearrange(found["image_intermediates"][-1], "b c h w -> b (h w) c")
            pool = self.tower.attnpool
            return Features(pool.c_proj(pool.v_proj(grid)), found["image_features"])
        grid = self.tower.trunk.forward_features(batch)
        grid = rearrange(grid, "b c h w -> b (h w) c") if grid.ndim == 4 else grid
        return Features(self.tower.head(grid), self.tower(batch))
