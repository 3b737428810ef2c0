"""One signal drawn as a picture: image, gel image, point cloud, series, text or vector, in any form a loader
gives it.

Reports and contact sheets both draw with it.

Note:
    Signals come normalised, with channels first or last, as bytes or as floats; an image is stretched to its own range
    only when it does not fit [0, 1] or [0, 255].
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from pairalign.core.errors import ConfigError, DataError, did_you_mean
from pairalign.data.arrays import plain_array
from pairalign.data.picture import is_of_bytes, rgb_picture
from pairalign.data.raster import upright

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito 2008, colour-blind safe; yellow is darkened, so that each reads on white and on dark.
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#b8a100", "#8c8c8c")
INK = "#33383f"  # text and axes; the report turns it into the page's own text colour
MUTED = "#868e99"
LINE = "#d8dce2"
_PLAIN = ("RGB", "L", "1")


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **grid: Any) -> tuple[Figure, np.ndarray]:
    """A windowless figure, `width` x `height` inches on transparent ground, and its (rows, columns) axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150)
    figure.patch.set_alpha(0.0)
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw=grid or None)
    for ax in axes.flat:
        ax.patch.set_alpha(0.0)
        ax.tick_params(colors=INK, labelsize=9, length=0)
        for side, spine in ax.spines.items():
            spine.set_color(LINE)
            spine.set_visible(side in ("left", "bottom"))
    return figure, axes


def lay_out(figure: Figure, bottom: float = 0.0) -> Figure:
    """Fit the axes into the figure above `bottom`, a share of its height. `$` in a name starts no formula."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)
    figure.tight_layout(rect=(0, bottom, 1, 1))
    return figure


def draw_signal(ax: Axes, kind: str, value: Any) -> None:
    """Draw one sample on `ax`, without ticks.

    kind: "image" (also gel images), "points", "series", "text" or "vector", as in `Signal.kind`.
    value: a string for text; else an array, tensor or PIL image. Image: (H, W), (C, H, W) or (H, W, C), or a
    stack (T, ...) of frames side by side. Points: (N, 3) or more columns; columns 3 to 6 are normals if any
    is negative, else RGB in [0, 1] or [0, 255]. Series: (T,) or (C, T). Vector: any shape, flattened.
    """
    if kind not in _DRAW:
        raise ConfigError(f"draw_signal(kind={kind!r}) is not a kind of signal.{did_you_mean(kind, _DRAW)}")
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_color(LINE)
        spine.set_linewidth(0.8)
    _DRAW[kind](ax, value)


def signal_aspect(kind: str, value: Any) -> float:
    """Height over width that suits a signal: an image's own, within 0.3 to 1.2; flat for text and series."""
    if kind != "image":
        return {"points": 1.0, "text": 0.75, "series": 0.7, "vector": 0.6}.get(kind, 1.0)
    height, width = picture_array(value).shape[:2]
    return min(1.2, max(0.3, height / width))


def picture_array(value: Any) -> np.ndarray:
    """An image in any form as (H, W, 3) float in [0, 1]; a stack of frames is set side by side."""
    array = as_array(value)
    if array.ndim == 4:
        return np.concatenate([picture_array(frame) for frame in array], axis=1)
    if array.ndim == 3 and array.shape[0] in (1, 3, 4) and array.shape[2] not in (1, 3, 4):
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 4 and array.dtype == np.uint8:
        array = np.asarray(rgb_picture(array))
    elif array.ndim == 3 and array.shape[2] in (1, 3, 4):
        array = array[..., :3]
    elif array.ndim == 2:
        array = array[..., None]
    else:
        raise DataError(f"image of shape {array.shape}: give (H, W), (C, H, W), (H, W, C) or a stack of these.")
    return np.broadcast_to(_stretch(array), (*array.shape[:2], 3))


def as_array(value: Any) -> np.ndarray:
    """A tensor, PIL image or sequence as a NumPy array; floats as float64, non-finite values as 0."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = (value.float() if value.is_floating_point() else value).numpy()
    if is_of_bytes(value) and value.mode not in _PLAIN:
        value = rgb_picture(value)  # a palette's numbers are no colours
    array = plain_array(upright(value) if hasattr(value, "getbands") else value)
    return np.nan_to_num(array.astype(np.float64), posinf=0, neginf=0) if array.dtype.kind == "f" else array


def _stretch(array: np.ndarray) -> np.ndarray:
    """Values to [0, 1]: bytes by 255; signed differences around mid-grey; anything else by its own range."""
    if array.dtype == np.uint8:
        return array / 255.0
    array = array.astype(np.float64)
    low, high = float(array.min()), float(array.max())
    if low >= 0 and high <= 1:
        return array
    if low >= 0 and high <= 255 and array.shape[-1] == 3:
        return array / 255.0
    if low < 0 < high:
        return 0.5 + array / (2 * max(-low, high))
    return (array - low) / max(high - low, 1e-12)


def _draw_image(ax: Axes, value: Any, dots: int = 200) -> None:
    """At about 200 dots an inch and no more, so that a report with many photos can still be mailed."""
    picture = picture_array(value)
    step = max(1, int(min(picture.shape[:2]) / (_side(ax) * dots)))
    rows, columns = (size // step * step for size in picture.shape[:2])
    blocks = picture[:rows, :columns].reshape(rows // step, step, columns // step, step, 3)
    ax.imshow(blocks.mean((1, 3)), aspect="equal", interpolation="antialiased")


def _draw_points(ax: Axes, value: Any, limit: int = 2048) -> None:
    """Three-quarter view of small discs that lie in the surface (Pfister et al. 2000), the far ones first."""
    from matplotlib.collections import EllipseCollection

    array = as_array(value).astype(np.float64)
    if array.ndim != 2 or array.shape[1] < 3 or not len(array):
        raise DataError(f"points of shape {array.shape}: give (N, 3) or more columns.")
    array = array[:: -(-len(array) // limit)]
    view = array[:, :3] @ _camera().T
    view = view - (view.max(0) + view.min(0)) / 2
    view = view / max(float(np.abs(view).max()), 1e-9)
    normal, spacing = _surface(view)
    base, extra = np.array([[0.36, 0.66, 0.93]]), array[:, 3:6]
    order = np.argsort(view[:, 2])
    if extra.shape[1] == 3 and extra.min() < 0:
        normal = extra @ _camera().T
        order = order[normal[order, 2] > -0.1]  # the back of a closed surface is hidden
    elif extra.shape[1] == 3:
        base = extra / (255.0 if extra.max() > 1 else 1.0)
    shade = 0.62 + 0.45 * normal @ np.array([-0.4, 0.68, 0.62]) + 0.10 * view[:, 2]
    colour = np.broadcast_to(np.clip(base * shade[:, None], 0, 1), (len(view), 3))[order]
    long, normal = 3.4 * spacing[order].clip(max=1.3 * float(np.median(spacing))), normal[order]
    short, turn = (
        long * np.clip(np.abs(normal[:, 2]), 0.25, 1),
        np.degrees(np.arctan2(normal[:, 1], normal[:, 0])),
    )
    discs = EllipseCollection(short, long, turn, units="xy", offsets=view[order, :2], offset_transform=ax.transData)
    discs.set(facecolor=colour, edgecolor="none", rasterized=True)
    ax.add_collection(discs)
    ax.set(xlim=(-1.12, 1.12), ylim=(-1.12, 1.12), aspect="equal")


def _camera(azimuth: float = 35.0, elevation: float = 24.0) -> np.ndarray:
    """Rows: right, up and towards the viewer, for a world with z up."""
    a, e = np.radians([azimuth, elevation])
    toward = np.array([np.cos(e) * np.sin(a), -np.cos(e) * np.cos(a), np.sin(e)])
    right = np.array([np.cos(a), np.sin(a), 0.0])
    return np.stack([right, np.cross(toward, right), toward])


def _surface(xyz: np.ndarray, neighbours: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Unit normals (N, 3) towards the viewer, by the least direction of the neighbours; spacing (N,)."""
    k = min(neighbours, len(xyz))
    square = (xyz**2).sum(1)
    distance = square[:, None] + square[None] - 2 * xyz @ xyz.T
    rows = np.argpartition(distance, k - 1, axis=1)[:, :k]
    near = xyz[rows] - xyz[rows].mean(1, keepdims=True)
    _, vectors = np.linalg.eigh(near.transpose(0, 2, 1) @ near)
    reach = np.take_along_axis(distance, rows, 1).max(1).clip(min=0)
    normals = vectors[:, :, 0]
    return normals * np.where(normals[:, 2:] < 0, -1.0, 1.0), np.sqrt(reach / k)


def _draw_series(ax: Axes, value: Any) -> None:
    array = np.atleast_2d(as_array(value).astype(np.float64))
    if array.ndim != 2 or not array.size:
        raise DataError(f"series of shape {array.shape}: give (T,) or (C, T).")
    if len(array) > 12:
        ax.imshow(array, aspect="auto", cmap="cividis", interpolation="antialiased")
        return
    spread = max(float(np.abs(array - array.mean(1, keepdims=True)).max()), 1e-12)
    for i, row in enumerate(array):
        offset = -2.2 * i
        low, high, at = _envelope((row - row.mean()) / spread)
        if low is high:
            ax.plot(at, low + offset, color=PALETTE[i % len(PALETTE)], linewidth=0.9)
        else:
            ax.fill_between(at, low + offset, high + offset, color=PALETTE[i % len(PALETTE)], linewidth=0.3)
    ax.set(xlim=(0, array.shape[1] - 1 or 1), ylim=(-2.2 * len(array) + 0.9, 1.3))


def _envelope(row: np.ndarray, columns: int = 200) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Low, high and position: the row itself if it is short, else its extremes in `columns` slices."""
    if len(row) <= 2 * columns:
        return row, row, np.arange(len(row))
    cut = len(row) // columns * columns
    parts = row[:cut].reshape(columns, -1)
    return parts.min(1), parts.max(1), np.linspace(0, len(row) - 1, columns)


def _draw_text(ax: Axes, value: Any) -> None:
    width = max(10, int(_side(ax) * 11.5))
    lines = textwrap.wrap(str(value), width) or ["(empty)"]
    if len(lines) > 7:
        lines = [*lines[:6], lines[6][: width - 1] + "…"]
    place: dict[str, Any] = {"ha": "center", "va": "center", "transform": ax.transAxes}
    ax.text(0.5, 0.5, "\n".join(lines), color=INK, fontsize=8, parse_math=False, **place)


def _draw_vector(ax: Axes, value: Any) -> None:
    row = as_array(value).astype(np.float64).ravel()
    if not row.size:
        raise DataError("vector of length 0: there is nothing to draw.")
    ax.bar(np.arange(len(row)), row, width=0.9, color=PALETTE[0])
    ax.axhline(0, color=MUTED, linewidth=0.6)
    ax.margins(x=0.02, y=0.1)


def _side(ax: Axes) -> float:
    """The shorter side of the axes, in inches."""
    return float(min(ax.bbox.width, ax.bbox.height) / ax.figure.dpi)


_DRAW = {
    "image": _draw_image,
    "points": _draw_points,
    "series": _draw_series,
    "text": _draw_text,
    "vector": _draw_vector,
}
