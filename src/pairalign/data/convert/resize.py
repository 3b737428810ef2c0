"""Reduce images while they are packed: smaller shards and faster training, at the price of a re-encoding.

Where it bites: only the shorter side is given, so the aspect ratio stays; an image that is small already is stored as
it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pairalign.data.decode import decode
from pairalign.data.made import Made

IMAGES = (".jpg", ".jpeg", ".png", ".pgm")


def reduced(sample: Mapping[str, Any], size: int) -> dict[str, Any]:
    """The sample with its image files reduced to a shorter side of `size` pixels when they are written."""
    return {name: _value(value, size) for name, value in sample.items()}


def _value(value: Any, size: int) -> Any:
    if isinstance(value, Path) and value.suffix.lower() in IMAGES:
        return Made(reduce_image, (value, size))
    if isinstance(value, Mapping):
        return {name: _value(part, size) for name, part in value.items()}
    if isinstance(value, list):
        return [_value(part, size) for part in value]
    return value


def reduce_image(path: Path, size: int) -> Any:
    """The image with a shorter side of at most `size` pixels, or the path itself where nothing changes."""
    from PIL import Image

    image = decode(path.suffix.lower().removeprefix("."), path.read_bytes())
    shorter = min(image.size)
    if shorter <= size:
        return path
    target = tuple(round(side * size / shorter) for side in image.size)
    return image.resize(target, Image.Resampling.LANCZOS)
