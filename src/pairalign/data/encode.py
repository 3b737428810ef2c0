"""From a value in Python to stored bytes: what `pack_pairs` writes for each kind of value.

A path and `Stored` bytes are copied byte for byte, never re-encoded, where a shard keeps that format (see `formats`). A
PIL image becomes jpg (or png where that would lose depth or alpha, or on request), an array npy, a string txt, a list
of numbers an array of float64.

Note:
    A string is text; a file is named by a `pathlib.Path`.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from numbers import Number
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pairalign.core.errors import DataError
from pairalign.core.limits import read_bytes
from pairalign.data.arrays import plain_array
from pairalign.data.formats import FORMATS, STORED, extension_of, known_extension
from pairalign.data.made import Made, Stored
from pairalign.data.raster import frames_in, picture_extension, upright
from pairalign.data.sources import read_source

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
        return known_extension(value.extension, f"stored bytes of {value.extension!r}", STORED), value.data
    if isinstance(value, str):
        return "txt", value.encode("utf-8")
    if isinstance(value, np.ndarray):
        return "npy", _npy(value)
    if hasattr(value, "getbands"):  # a PIL image, without importing PIL for those who have none
        return _image(value, image)
    if hasattr(value, "detach"):
        return "npy", _npy(tensor_array(value))
    if is_numeric(value):
        return "npy", _npy(_of_numbers(value))
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
    extension = known_extension(extension_of(path.name), f"file {path.name!r}")
    try:
        data = read_bytes(path)
    except OSError as error:
        raise DataError(f"file {path.name!r} cannot be read: {error.strerror}.") from error
    try:
        if FORMATS[extension].family == "picture":
            if frames_in(path) > 1:
                raise DataError("it holds several pictures, which can be a modality of its own, and no part of one.")
            return picture_extension(data, extension), data
        if FORMATS[extension].stored == "npy":
            return "npy", _npy(read_source(data, extension))
    except DataError as error:
        raise DataError(f"file {path.name!r}: {error}") from error
    if FORMATS[extension].stored == "frames":
        raise DataError(f"file {path.name!r}: a video can be a modality of its own, and no part or frame of one.")
    return extension, data


def tensor_array(value: Any) -> np.ndarray:
    """A tensor as an array; one of a type that numpy lacks as float32, which holds it exactly; raise `DataError` for a
    sparse or quantised one."""
    try:
        value = value.detach().cpu()
        return value.numpy() if value.dtype.itemsize != 2 or not value.is_floating_point() else _half(value)
    except (TypeError, RuntimeError, NotImplementedError) as error:
        raise DataError(f"a tensor of {value.dtype} cannot be stored ({error}): make it a plain one first.") from error


def _half(value: Any) -> np.ndarray:
    return (value.float() if "bfloat16" in str(value.dtype) else value).numpy()


def _of_numbers(value: Any) -> np.ndarray:
    """Numbers of a manifest in full: float64, and int64 where that would round a whole number."""
    array = np.asarray(value)
    if isinstance(value, np.generic):
        return array
    if array.dtype.kind in "iu" and max(-int(array.min()), int(array.max())) > 2**53:
        return array
    if array.dtype.kind not in "biuf":
        raise DataError(f"the numbers do not fit: {str(value)[:60]}.")
    return array.astype(np.float64)


def _npy(value: np.ndarray) -> bytes:
    value = plain_array(value)
    stream = io.BytesIO()
    little = value.dtype.newbyteorder("<")
    np.lib.format.write_array(stream, np.ascontiguousarray(value).astype(little), allow_pickle=False)
    return stream.getvalue()


def _image(value: Any, image: ImageFormat) -> tuple[str, bytes]:
    try:
        value.load()
    except Exception as error:  # a lazily opened file that turns out to be damaged
        raise DataError(f"the image cannot be decoded ({error}).") from error
    value = upright(value)  # what is written anew loses the note that a photo lies on its side
    if value.mode in ("F", "I"):  # 32 bits, which no image format here holds
        return "npy", _npy(np.asarray(value))
    value = _storable(value)
    stream = io.BytesIO()
    if image.kind == "png" or value.mode in _PNG_MODES:
        value.save(stream, "PNG")
        return "png", stream.getvalue()
    value.save(stream, "JPEG", quality=image.quality)
    return "jpg", stream.getvalue()


def _storable(value: Any) -> Any:
    """The picture in a mode that PNG or JPEG holds, its transparency kept."""
    if value.mode.startswith("I;16"):
        from PIL import Image

        return value if value.mode == "I;16" else Image.fromarray(plain_array(value))
    value = value.convert("LA") if value.mode == "La" else value  # which Pillow converts to nothing else
    if value.mode not in _PNG_MODES and value.has_transparency_data:
        return value.convert("RGBA")
    if value.mode in ("RGB", "L", *_PNG_MODES):
        return value
    try:
        return value.convert("RGB")  # a palette, CMYK and the like
    except ValueError as error:
        raise DataError(f"a picture of mode {value.mode} cannot be stored ({error}): convert it to RGB.") from error
