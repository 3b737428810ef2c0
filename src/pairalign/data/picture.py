"""Any stored picture or array as what an 8-bit RGB tower gets: the one place that says how.

bytes as they are; bits black or white; 16 bits divided by 257, so that the whole range stays; floats from [0, 1], or
from [0, 255] where one is above 1; grey repeated; transparency laid on white; palettes, CMYK and the like as Pillow
converts them; arrays (H, W), (H, W, C) or (C, H, W). `levels=(low, high)` says for all but bytes what is black and
what is white, and then what lies outside is cut off. A modality's floats are judged together, by the range that its
index records.

Note:
    Negative numbers have no rule of their own, and are refused until `levels` says one: with (-255, 255) a difference
    keeps its sign around mid-grey.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pairalign.core.errors import SignalError
from pairalign.data.arrays import dtype_of, plain_array
from pairalign.data.raster import upright

Levels = tuple[float, float]
WHITE = (255, 255, 255)
_WIDE = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")  # modes of Pillow that hold more than bytes
_CHANNELS = (1, 3, 4)
_DARK = 8.0  # floats up to here may be dark ones of [0, 255], or bright ones of [0, 1] that were resampled
_FEW = 32  # grey levels of 256, below which a picture of 16 bits is called nearly flat


def rgb_picture(value: Any, levels: Levels | None = None, background: tuple[int, int, int] = WHITE) -> Any:
    """A PIL picture of mode RGB, upright; raise `SignalError` for what has no meaning as one.

    value: a PIL picture, an array or tensor, or parts of which "value" or the only frame is one. background: shown
    through what is transparent. levels: see the module.
    """
    from PIL import Image

    if isinstance(value, Mapping) and "value" in value:
        value = value["value"]
    if isinstance(value, Mapping) and "frames" in value:
        value = value["frames"]
    if isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    if isinstance(value, (Mapping, list, tuple)):
        raise SignalError(f"{len(value)} frames where one picture is needed: pack one (of a video, `--frames 1`).")
    if is_of_bytes(value):
        return _converted(upright(value), background)
    picture = Image.fromarray(byte_array(value, levels))
    return _flat(picture, background) if picture.mode == "RGBA" else picture.convert("RGB")


def byte_array(value: Any, levels: Levels | None = None) -> np.ndarray:
    """An array or a deep picture as uint8 (H, W), (H, W, 3) or (H, W, 4), by the rules of the module."""
    array = channels_last(_plain(value))
    if array.dtype == np.uint8:
        return array
    low, high = levels or natural_levels(array.dtype, float(array.min()), float(array.max()))
    scaled = (array.astype(np.float64) - low) * (255.0 / (high - low))
    return np.rint(scaled.clip(0, 255)).astype(np.uint8)


def natural_levels(dtype: np.dtype, low: float, high: float) -> Levels:
    """What is black and what white in numbers of this type that lie in low to high; raise `SignalError` if nobody can
    say."""
    if dtype.kind == "b":
        return 0.0, 1.0
    if not low >= 0 or not np.isfinite(high):
        raise _unclear(dtype, low, high, "one cannot tell what is black")
    if dtype.kind == "f":
        if 1 < high <= _DARK or high > 255:
            raise _unclear(dtype, low, high, "floats are read from [0, 1] or [0, 255], and these are from neither")
        return 0.0, 1.0 if high <= 1 else 255.0
    if high > 65535:
        raise _unclear(dtype, low, high, "whole numbers are read from up to 16 bits")
    if dtype == np.uint16 or high > 255:
        return 0.0, 65535.0
    return 0.0, 255.0


def common_levels(values: Sequence[Any]) -> Levels | None:
    """What is black and what white in pictures that belong together, as frames of one contact do; None for bytes."""
    arrays = [_plain(value) for value in values if not is_of_bytes(value)]
    arrays = [array for array in arrays if array.dtype != np.uint8 and array.size]
    if not arrays:
        return None
    low, high = min(float(a.min()) for a in arrays), max(float(a.max()) for a in arrays)
    return natural_levels(np.result_type(*arrays), low, high)


def recorded_levels(recorded: Mapping[str, Any]) -> Levels | None:
    """The same for a whole modality, from the type and range that an index records; None where each picture says it."""
    name, known = recorded.get("dtype"), recorded.get("range")
    if name in (None, "uint8", "mixed") or not known:
        return None
    return natural_levels(dtype_of(name), *known)


def check_pictures(recorded: Mapping[str, Any], levels: Levels | None, where: str) -> list[str]:
    """Raise `SignalError` where an index tells of pictures that nobody can show; return what a user should know."""
    if levels is not None:
        return []
    try:
        found = recorded_levels(recorded)
    except SignalError as error:
        raise SignalError(f"{where}: {error}") from None
    low, high = recorded.get("range") or (0.0, 255.0)
    shown = 256 * (high - low) / (found[1] - found[0]) if found else 256
    if shown >= _FEW:
        return []
    return [
        f"note: {where}: values from {low:g} to {high:g} of 0 to {found[1] if found else 255:g} become {shown:.0f} of "
        f"256 grey levels: set the encoder's option levels=[{low:g}, {high:g}] to use them all."
    ]


def conformed(raw: Any, recorded: Mapping[str, Any], levels: Levels | None) -> Any:
    """A raw picture, frames or parts, with what is no bytes made so by the levels of the whole modality."""
    found = levels or recorded_levels(recorded)
    if found is None or isinstance(raw, str):
        return raw
    if isinstance(raw, Mapping):
        return {name: conformed(part, recorded, found) for name, part in raw.items()}
    if isinstance(raw, (list, tuple)):
        return [conformed(part, recorded, found) for part in raw]
    return raw if is_of_bytes(raw) else rgb_picture(raw, found)


def channels_last(array: np.ndarray) -> np.ndarray:
    """(H, W), (H, W, 3) or (H, W, 4) of an array in either order; raise `SignalError` for another shape."""
    if array.ndim == 3 and array.shape[2] not in _CHANNELS and array.shape[0] in (1, 3):
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or not array.size or (array.ndim == 3 and array.shape[2] not in _CHANNELS):
        raise SignalError(f"image of shape {array.shape}: give a picture or an array (H, W), (H, W, 3) or (3, H, W).")
    return np.ascontiguousarray(array)


def check_levels(levels: Any) -> Levels | None:
    """An encoder's option `levels` as (low, high), or None; raise `SignalError` for anything else."""
    if levels is None:
        return None
    try:
        low, high = (float(level) for level in levels)
    except (TypeError, ValueError):
        raise SignalError(f"levels={levels!r}: give [low, high], what is black and what is white, or null.") from None
    if not low < high:
        raise SignalError(f"levels={levels!r}: low must be below high.")
    return low, high


def is_of_bytes(value: Any) -> bool:
    """Whether it is a PIL picture of 8 bits or fewer, palettes and the like among them."""
    return hasattr(value, "getbands") and value.mode not in _WIDE


def _plain(value: Any) -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = (value.float() if value.is_floating_point() else value).numpy()
    return plain_array(upright(value) if hasattr(value, "getbands") else value)


def _converted(image: Any, background: tuple[int, int, int]) -> Any:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    try:
        image = image.convert("LA") if image.mode == "La" else image  # which Pillow converts to nothing else
        if image.has_transparency_data:
            return _flat(image.convert("RGBA"), background)
        return image.convert("RGB")
    except (ValueError, AssertionError) as error:  # the latter for a palette that is not there
        why = str(error) or "it has no palette"
        raise SignalError(f"a picture of mode {image.mode} cannot be shown ({why}): save it as RGB.") from error


def _flat(image: Any, background: tuple[int, int, int]) -> Any:
    from PIL import Image

    ground = Image.new("RGBA", image.size, (*background, 255))
    return Image.alpha_composite(ground, image).convert("RGB")


def _unclear(dtype: np.dtype, low: float, high: float, why: str) -> SignalError:
    return SignalError(
        f"image of {dtype} from {low:.6g} to {high:.6g}: {why}. Say what is black and what is white with the encoder's "
        f"option levels=[low, high], such as [{low:.6g}, {high:.6g}]"
        + (f", or [{-max(-low, high):.6g}, {max(-low, high):.6g}] to keep 0 at mid-grey." if low < 0 else ".")
    )
