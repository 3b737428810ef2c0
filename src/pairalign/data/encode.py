"""From a value in Python to stored bytes: what `pack_pairs` writes for each kind of value.

A path and `Stored` bytes are copied byte for byte, never re-encoded. A PIL image becomes jpg (or png where that would
lose depth or alpha, or on request), an array npy, a string txt, a list of numbers an array. Where it bites: a string is
text; a file is named by a `pathlib.Path`.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from numbers import Number
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pairalign.core.errors import DataError, did_you_mean
from pairalign.data.decode import DECODERS
from pairalign.data.made import Made, Stored

_PNG_MODES = ("RGBA", "LA", "1", "I;16")  # alpha, bits and 16-bit depth, which a JPEG would lose


@dataclass(frozen=True)
class ImageFormat:
    """How PIL images and none else are written: lossy "jpg" with a quality of 1 to 95, or lossless "png"."""

    kind: Literal["jpg", "png"] = "jpg"
    quality: int = 90

    def __post_init__(self) -> None:
        if self.kind not in ("jpg", "png") or not 1 <= self.quality <= 95:
            raise DataError(f"image format {self.kind!r}, quality {self.quality}: use 'jpg' with 1 to 95, or 'png'.")


def encode(value: Any, image: ImageFormat) -> tuple[str, bytes]:
    """Extension and bytes of one value; raise `DataError` for a type that has no stored form."""
    if isinstance(value, Made):
        value = value.value()
    if isinstance(value, Path):
        return _file(value)
    if isinstance(value, Stored):
        return _extension(value.extension, f"stored bytes of {value.extension!r}"), value.data
    if isinstance(value, str):
        return "txt", value.encode("utf-8")
    if isinstance(value, np.ndarray):
        return "npy", _npy(value)
    if hasattr(value, "getbands"):  # a PIL image, without importing PIL for those who have none
        return _image(value, image)
    if hasattr(value, "detach"):
        return "npy", _npy(value.detach().cpu().numpy())
    if is_numeric(value):
        return "npy", _npy(np.asarray(value, np.float32))
    if isinstance(value, (dict, list)):
        return "json", json.dumps(value, sort_keys=True, ensure_ascii=False).encode()
    raise DataError(f"a {type(value).__name__} cannot be stored: give an image, array, string, number or Path.")


def is_numeric(value: Any) -> bool:
    """True for a number, or nested lists of numbers of equal length."""
    if isinstance(value, bool):
        return False
    if isinstance(value, (list, tuple)):
        if not value or not all(is_numeric(entry) for entry in value):
            return False
        return len({len(v) if isinstance(v, (list, tuple)) else -1 for v in value}) == 1
    return isinstance(value, Number)


def _file(path: Path) -> tuple[str, bytes]:
    extension = _extension(path.suffix.removeprefix("."), f"file {path.name!r}")
    try:
        return extension, path.read_bytes()
    except OSError as error:
        raise DataError(f"file {path.name!r} cannot be read: {error.strerror}.") from error


def _extension(name: str, what: str) -> str:
    extension = name.lower()
    if extension not in DECODERS:
        raise DataError(f"{what}: extension has no decoder.{did_you_mean(extension, DECODERS)}")
    return extension.replace("jpeg", "jpg")


def _npy(value: np.ndarray) -> bytes:
    if value.dtype.kind not in "biuf":
        raise DataError(f"an array of dtype {value.dtype} cannot be stored: convert it to numbers.")
    stream = io.BytesIO()
    little = value.dtype.newbyteorder("<")
    np.lib.format.write_array(stream, np.ascontiguousarray(value).astype(little), allow_pickle=False)
    return stream.getvalue()


def _image(value: Any, image: ImageFormat) -> tuple[str, bytes]:
    try:
        value.load()
    except Exception as error:  # a lazily opened file that turns out to be damaged
        raise DataError(f"the image cannot be decoded ({error}).") from error
    if value.mode in ("F", "I"):  # 32 bits, which no image format here holds
        return "npy", _npy(np.asarray(value))
    if value.mode not in ("RGB", "L", *_PNG_MODES):  # a palette, CMYK and the like
        value = value.convert("RGB")
    stream = io.BytesIO()
    if image.kind == "png" or value.mode in _PNG_MODES:
        value.save(stream, "PNG")
        return "png", stream.getvalue()
    value.save(stream, "JPEG", quality=image.quality)
    return "jpg", stream.getvalue()
