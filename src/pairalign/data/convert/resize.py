"""Reduce images while they are packed: smaller shards and faster training, at the price of a re-encoding.

Note:
    Only the shorter side is given, so the aspect ratio stays; an image that is small already is stored as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pairalign.core.errors import DataError
from pairalign.core.limits import read_bytes
from pairalign.data.decode import decode
from pairalign.data.formats import PICTURES
from pairalign.data.made import Made, Stored
from pairalign.data.raster import frames_in


def reduced(sample: Mapping[str, Any], size: int) -> dict[str, Any]:
    """The sample with its images, files or made, reduced to a shorter side of `size` pixels when they are written."""
    return {name: _value(value, size) for name, value in sample.items()}


def _value(value: Any, size: int) -> Any:
    if isinstance(value, Made) or (isinstance(value, Path) and _extension(value) in PICTURES):
        return Made(reduce_image, (value, size))
    if isinstance(value, Mapping):
        return {name: _value(part, size) for name, part in value.items()}
    if isinstance(value, list):
        return [_value(part, size) for part in value]
    return value


def reduce_image(value: Path | Made, size: int) -> Any:
    """The image with a shorter side of at most `size` pixels, or the value itself where nothing changes."""
    from PIL import Image

    value = value.value() if isinstance(value, Made) else value
    if isinstance(value, Path) and frames_in(value) > 1:
        return value
    if isinstance(value, (Path, Stored)) and _extension(value) in PICTURES:
        image = decode(_extension(value), read_bytes(value) if isinstance(value, Path) else value.data)
    elif hasattr(value, "getbands"):
        image = _loaded(value)
    else:
        return value
    shorter = min(image.size)
    if shorter <= size:
        return value
    target = tuple(round(side * size / shorter) for side in image.size)
    return image.resize(target, Image.Resampling.LANCZOS)


def _loaded(image: Any) -> Any:
    try:
        image.load()
    except Exception as error:  # a lazily opened file that is damaged
        raise DataError(f"the image cannot be decoded ({error}).") from error
    return image


def _extension(value: Path | Stored) -> str:
    return (value.suffix if isinstance(value, Path) else value.extension).lower().removeprefix(".")
