"""A vision transformer of timm with its published weights, by name or from a local file.

Note:
    Without a file the weights are fetched from the Hugging Face hub, or taken from its cache. A file is safetensors,
    never a pickle, and must hold every weight of the tower; those of a classifier are left out, and positions are
    interpolated where the pictures have another size.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models import VisionTransformer
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import Tensor

from pairalign.core.errors import ConfigError, did_you_mean

NONE = "none"
CLASSIFIER = ("head.", "fc_norm.", "head_dist.")


def load_tower(name: str, weights: str | None, size: int, masked: float = 0.0) -> VisionTransformer:
    """The tower for pictures of `size` pixels; raise `ConfigError` for one that is unknown or cannot be loaded.

    weights: a file, "none" for random ones, null for the published.
    """
    if not timm.is_model(name):
        raise ConfigError(f"tower={name!r}: timm knows no such model.{did_you_mean(name, timm.list_models('*vit*'))}")
    try:
        tower = timm.create_model(
            name, pretrained=weights is None, num_classes=0, img_size=size, patch_drop_rate=masked
        )
    except (OSError, RuntimeError, TypeError, AssertionError) as error:
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"tower={name!r}, size={size}: {what}: give a size that it takes, and where the hub cannot be reached name "
            "a file of its weights as weights."
        ) from error
    if type(tower) is not VisionTransformer or tower.num_prefix_tokens != 1:
        raise ConfigError(
            f"tower={name!r}: is no plain vision transformer with a class token: give such as vit_tiny_…."
        )
    if weights not in (None, NONE):
        _load(tower, name, str(weights))
    return tower


def colours(tower: VisionTransformer) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and spread of the colours that a tower was trained on, of values from 0 to 1."""
    known: Any = tower.pretrained_cfg
    return tuple(known["mean"]), tuple(known["std"])


def _load(tower: VisionTransformer, name: str, path: str) -> None:
    asked = f"weights={path!r} of tower {name!r}"
    if Path(path).suffix != ".safetensors":
        raise ConfigError(f"{asked}: give a .safetensors file, 'none' for random ones, or leave it out.")
    try:
        stored: dict[str, Tensor] = checkpoint_filter_fn(load_file(path), tower)
        own = {key: value for key, value in stored.items() if not key.startswith(CLASSIFIER)}
        found = tower.load_state_dict(own, strict=False)
    except (OSError, SafetensorError, RuntimeError, KeyError) as error:
        raise ConfigError(f"{asked}: cannot be read: {str(error).splitlines()[0]}") from error
    wrong = [*found.missing_keys, *found.unexpected_keys]
    if wrong:
        raise ConfigError(f"{asked}: is of another tower, {wrong[0]} does not fit: give the file of this one.")
