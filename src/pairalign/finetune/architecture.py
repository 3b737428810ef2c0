"""A base model as its sizes alone: the real class on the meta device, without a weight or a download.

Note:
    A meta model can be counted and searched, not run. A hub id is asked for only where no folder has it, and needs the
    network then.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from pairalign.core.errors import ConfigError


def find_architecture(base: str, beside: Path | None = None) -> str:
    """Where to read the sizes of `base`: itself if a folder, else the folder of its name in `beside`, else the hub.

    beside: folder of architecture descriptions, each named as the last part of a hub id.
    """
    if (Path(base) / "config.json").is_file():
        return base
    known = None if beside is None else beside / base.rstrip("/").rpartition("/")[2]
    return str(known) if known is not None and (known / "config.json").is_file() else base


def build_on_meta(architecture: str) -> nn.Module:
    """The model of a folder with config.json, or of a hub id, without weights; in the dtype that it is published in.

    Raise `ConfigError` where there is no such description, and for a text-only model.
    """
    from transformers import AutoConfig, AutoModelForImageTextToText

    from pairalign.sensors.model import check_multimodal

    try:
        config: Any = AutoConfig.from_pretrained(architecture)
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(config)
    except (OSError, ValueError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(
            f"architecture {architecture!r} cannot be read ({lines[0]}): give --architecture a folder with a "
            "config.json of an image-text-to-text model."
        ) from error
    check_multimodal(model)
    return model


def floating(name: str, stored: torch.dtype) -> torch.dtype:
    """The dtype that a configuration's `dtype` means: "auto" is the published one. Raise `ConfigError` if none."""
    found = stored if name == "auto" else getattr(torch, name, None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ConfigError(f"dtype={name!r}: give auto, float32, bfloat16 or float16.")
    return found
