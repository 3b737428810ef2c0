"""What kind of signal a stored value is, and the same value in one plain form.

Shards record formats, not kinds.

Note:
    An array of shape (N, 3) may be points or a three-axis series; it is taken for points unless the index records a
    rate or an axis called "time", so record them when packing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from pairalign.core.errors import SignalError
from pairalign.core.types import Kind, Signal
from pairalign.data.formats import SOUNDS
from pairalign.data.index import ModalityInfo

CLOUD_COLUMNS = range(3, 10)
POINT_AXES = ("point", "points", "vertex", "vertices")
_TACTILE = {"touch", "touches", "tactile", "tac", "gel", "gelsight", "digit", "taxim", "dura", "duragel"}


def check_stored(signal: Signal, info: ModalityInfo, where: str, fixes: Mapping[str, str] | None = None) -> None:
    """Raise `SignalError` unless an encoder that declares `signal` may read what an index records of one modality.

    Compared are unit, rate and whether it is text; sizes are not, because `Encoder.preprocess` may change them. fixes:
    see `Signal.check_recorded`.
    """
    signal.check_recorded({"unit": info.unit, "rate": info.rate}, where, fixes)
    written = set(info.ext)
    if written == {"txt"} if signal.kind != "text" else written.isdisjoint({"txt", "json"}):
        raise SignalError(
            f"{where}: the data holds {', '.join(info.ext)}, the encoder reads signals of kind {signal.kind!r}: name "
            "the right field as `source`, or use another encoder."
        )


def main_value(value: Any) -> Any:
    """The value itself of a modality that has parts; the last frame if it has only frames.

    A dict with neither is a value read from JSON, and stays as it is.
    """
    if not isinstance(value, dict) or not ("value" in value or value.get("frames")):
        return value
    return value["value"] if "value" in value else value["frames"][-1]


def with_meta(recorded: Mapping[str, Any], meta: Mapping[str, Any], sensors: Collection[str]) -> Mapping[str, Any]:
    """What is recorded of a modality, for one sample: its own sensor, where its meta says one and the configuration
    none. sensors: those that the encoder tells apart; without any nobody asks."""
    own = meta.get("sensor")
    if not sensors or recorded.get("told") or not isinstance(own, str):
        return recorded
    return {**recorded, "sensor": own}


def words(name: str) -> set[str]:
    """The words of a modality's name, without numbers: `image_third-view2` → image, third, view."""
    return set(re.findall(r"[a-z]+", name.lower()))


def names_touch(name: str) -> bool:
    """Whether the name says that a gel or another touch sensor made this modality."""
    return bool(words(name) & _TACTILE)


def kind_of(value: Any, info: ModalityInfo | None = None) -> Kind:
    """The kind of one decoded main value, see `Signal.kind`; `info` is what the index records of its modality."""
    if isinstance(value, (str, dict, list)):
        return "text"
    if hasattr(value, "getbands"):
        return "image"
    array = np.asarray(value)
    if info is not None and (info.rate or "time" in (info.axes or ()) or not set(SOUNDS).isdisjoint(info.ext)):
        return "series"
    if array.ndim == 2 and _points_axis(info) is not None:
        return "points"
    if array.ndim >= 3:
        return "image"
    if array.ndim == 2:
        return _kind_of_table(array)
    return "series" if array.ndim == 1 and len(array) >= 64 else "vector"


def _kind_of_table(array: np.ndarray) -> Kind:
    """A picture has two long sides, a cloud few columns, and a series few rows or few columns."""
    rows, columns = array.shape
    if array.dtype.kind == "f" and columns in CLOUD_COLUMNS and rows >= 4 * columns:
        return "points"
    return "image" if array.dtype.kind in "bu" or 4 * min(rows, columns) > max(rows, columns) else "series"


def _points_axis(info: ModalityInfo | None) -> int | None:
    """The axis that an index says counts the points of a cloud."""
    axes = [axis.lower() for axis in (info.axes if info is not None else None) or ()]
    return next((i for i, axis in enumerate(axes) if axis in POINT_AXES), None) if len(axes) == 2 else None


def cloud_rows(value: Any, info: ModalityInfo | None = None) -> np.ndarray:
    """A cloud (points, columns) of one that may be stored as (columns, points), which its index then says."""
    array = np.asarray(value)
    return array.T if array.ndim == 2 and _points_axis(info) == 1 else array


def series_array(value: Any, info: ModalityInfo | None = None) -> np.ndarray:
    """A series as (channel, time) float32, float64 of longer numbers: time is the axis of that name, else the longer
    one."""
    array = np.asarray(value)
    array = array.astype(np.result_type(array.dtype, np.float32), copy=False)
    if array.ndim <= 1:
        return array.reshape(1, -1)
    axes = (info.axes if info is not None else None) or ()
    time = axes.index("time") if "time" in axes and len(axes) == array.ndim else int(np.argmax(array.shape))
    return np.moveaxis(array, time, -1).reshape(-1, array.shape[time])
