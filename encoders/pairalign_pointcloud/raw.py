"""A raw cloud, whatever it comes as, as rows of columns in float64.

Taken are arrays (M, C) and (C, M), structured arrays with the fields x, y, z (as ROS gives them), dicts of `points`
with `normals` or `colors`, and torch-geometric's `Data`.

Note:
    Which axis of a plain array counts the points is decided by the index's axes or shape for a whole modality; one
    array alone can show it only where its other axis can hold no columns, and (3, 3) is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pairalign.core.errors import SignalError
from pairalign_pointcloud.columns import COLOUR, MOST_COLUMNS, NORMAL, XYZ, parse_columns, spelt

Shape = Sequence[int | None]
_POINT = {"point", "points", "vertex", "vertices"}
_PARTS = {
    XYZ: ("points", "pos", "positions", "xyz", "vertices"),
    NORMAL: ("normals", "normal"),
    COLOUR: ("colors", "colours", "color", "colour", "rgb"),
}


@dataclass(frozen=True)
class Cloud:
    """values: (M, C) float64. names: of the columns, None where nobody said. whole: colours are whole numbers. faces:
    (F, 3) corners of a mesh's triangles, of which the points are the vertices.
    """

    values: np.ndarray
    names: tuple[str, ...] | None = None
    whole: bool = False
    faces: np.ndarray | None = None

    def part(self, columns: Sequence[str]) -> np.ndarray | None:
        """The columns of these names, if it has them all."""
        if self.names is None or not set(columns) <= set(self.names):
            return None
        return self.values[:, [self.names.index(name) for name in columns]]


@dataclass(frozen=True)
class Form:
    """How plain arrays of one modality lie: the axis that counts points, if known, and the names of the columns."""

    points: int | None = None
    names: tuple[str, ...] | None = None


def form_of(axes: Sequence[str] | None, shape: Shape | None, least: int) -> Form:
    """The form that recorded axes, or else the recorded shape, tell. least: columns that are needed."""
    axes = tuple(axes or ())
    names = [parse_columns(axis) for axis in axes]
    known = next((found for found in names if found), None)
    named = [axis.lower() in _POINT for axis in axes]
    shape = shape if shape is not None and len(shape) == 2 else None
    if len(axes) == 2 and sum(named) == 1:
        points: int | None = named.index(True)
    elif len(axes) == 2 and sum(found is not None for found in names) == 1:
        points = 1 - [found is not None for found in names].index(True)
    else:
        points = None if shape is None else _points_axis(shape, least)
    if known == XYZ and (shape is None or points is None or shape[1 - points] != 3):
        known = None  # the places are told, and not what the columns after them are
    return Form(points, known)


def _points_axis(shape: Shape, least: int) -> int | None:
    """The axis that counts points, if only the other can be columns; the second only where it is too long for them."""
    first, second = (size is not None and least <= size <= MOST_COLUMNS for size in shape)
    if first == second:
        return None
    return 0 if second else 1 if shape[1] is None or shape[1] > MOST_COLUMNS else None


def read_cloud(raw: Any, form: Form, least: int) -> Cloud:
    """A raw cloud as rows; raise `SignalError` where it is none, is empty, or does not say which axis is which."""
    if isinstance(raw, Cloud):
        return raw
    if hasattr(raw, "pos") and hasattr(raw, "num_nodes"):
        faces = {} if raw.get("face") is None else {"faces": raw.face.T}
        raw = faces | {name: raw[name] for name in ("pos", "normal", "color") if raw.get(name) is not None}
    if isinstance(raw, Mapping):
        return read_cloud(raw["value"], form, least) if "value" in raw else _joined(raw)
    array = _array(raw)
    if array.dtype.names:
        return _fields(array)
    if array.dtype.kind not in "biuf":
        raise SignalError(f"point cloud of dtype {array.dtype}: give real numbers.")
    return _plain(array, form, least)


def _array(value: Any) -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value
    try:
        return np.asarray(value)
    except (ValueError, TypeError) as error:  # rows of unequal length
        raise SignalError(f"point cloud of type {type(value).__name__} is no array: {error}.") from error


def _plain(array: np.ndarray, form: Form, least: int) -> Cloud:
    wanted = f"give (M, {least}) with M ≥ 1."
    if array.ndim != 2 or not array.size or max(array.shape) < least:
        raise SignalError(f"point cloud of shape {array.shape}: {wanted}")
    axis = _points_axis(array.shape, least) if form.points is None else form.points
    if axis is None:
        if min(array.shape) < least:
            raise SignalError(f"point cloud of shape {array.shape}: {wanted}")
        raise SignalError(
            f"point cloud of shape {array.shape}: either axis may count the points: record them when packing (--axes "
            "points=point,xyz), or set the encoder's axes: [point, coordinate] or [coordinate, point]."
        )
    rows = array.T if axis else array
    columns = rows.shape[1]
    if columns < least or (form.names and columns != len(form.names)):
        what = f"{', '.join(form.names)} are recorded" if form.names else wanted
        raise SignalError(f"point cloud of shape {array.shape}: has {columns} columns along axis {1 - axis}: {what}")
    return Cloud(rows.astype(np.float64), form.names, array.dtype.kind in "iu")


def _fields(array: np.ndarray) -> Cloud:
    """A structured array; PCL's packed colour, three bytes in one number, is unpacked."""
    names = {spelt(name): name for name in array.dtype.names or ()}
    rows = array.reshape(-1)
    found = {short: rows[name] for short, name in names.items() if rows[name].ndim == 1}
    for packed in {"rgb", "rgba"} & found.keys():
        if found[packed].dtype.itemsize == 4:
            column = found.pop(packed)
            bits = np.ascontiguousarray(column.astype(column.dtype.newbyteorder("="))).view(np.uint32)
            found |= {name: (bits >> shift) & 255 for name, shift in zip(COLOUR, (16, 8, 0), strict=True)}
    missing = [name for name in XYZ if name not in found]
    if missing or not len(rows):
        what = f"no {', '.join(missing)}" if missing else "no point"
        raise SignalError(f"point cloud with the fields {', '.join(array.dtype.names or ())}: has {what}.")
    kept = {name: column for name, column in found.items() if column.dtype.kind in "biuf"}
    whole = all(kept[name].dtype.kind in "iu" for name in COLOUR if name in kept)
    return Cloud(np.stack([column.astype(np.float64) for column in kept.values()], 1), tuple(kept), whole)


def _joined(parts: Mapping[str, Any]) -> Cloud:
    """Positions, normals and colours that come as arrays of their own."""
    blocks, names, whole = list[np.ndarray](), list[str](), False
    for columns, words in _PARTS.items():
        found = next((parts[word] for word in words if parts.get(word) is not None), None)
        if found is None:
            continue
        block = _array(found)
        fits = block.ndim == 2 and block.shape[1] == 3 and len(block) == len(blocks[0] if blocks else block) > 0
        if not fits or block.dtype.kind not in "biuf":
            what = f"{', '.join(columns)} of shape {block.shape}, {block.dtype}"
            raise SignalError(f"point cloud: {what}: give numbers (M, 3), with one M ≥ 1 for all.")
        whole = whole or (columns == COLOUR and block.dtype.kind in "iu")
        blocks.append(block.astype(np.float64))
        names += columns
    if names[:3] != list(XYZ):
        raise SignalError(f"point cloud with the parts {', '.join(map(str, parts))}: has no points.")
    faces = None if parts.get("faces") is None else _array(parts["faces"])
    if faces is not None and (faces.ndim != 2 or faces.shape[1] != 3 or faces.dtype.kind not in "iu"):
        raise SignalError(f"point cloud: faces of shape {faces.shape}, {faces.dtype}: give whole numbers (F, 3).")
    if faces is not None and faces.size and not 0 <= faces.min() <= faces.max() < len(blocks[0]):
        raise SignalError(f"point cloud: faces name vertices up to {faces.max()}, there are {len(blocks[0])}.")
    return Cloud(np.concatenate(blocks, 1), tuple(names), whole, faces)


def turned(cloud: Cloud, turn: np.ndarray) -> Cloud:
    """The cloud, its columns named, turned by a rotation (3, 3), and its normals with it."""
    values, names = cloud.values.copy(), cloud.names or XYZ
    for columns in (XYZ, NORMAL):
        if set(columns) <= set(names):
            at = [names.index(name) for name in columns]
            values[:, at] = values[:, at] @ turn.T
    return replace(cloud, values=values)
