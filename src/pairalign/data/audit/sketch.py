"""A sketch: the few hundred numbers of one value that the checks work on, so that 100,000 samples fit in memory.

Entries, as far as a kind has them: `look` for near duplicates, `cues` for swapped columns, `levels` for blank and
clipped signals, `flat` for axes and channels that do not vary, and for the trivial probes `mean`, `raw`, `border`, and
`background` and `difference` where the modality has a background part.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pairalign.core.narrowing import LEVELS as STEPS
from pairalign.core.types import Kind
from pairalign.data.audit.pixels import border, contrasted, picture_cues, shrink, small_picture
from pairalign.data.draw import as_array
from pairalign.data.index import ModalityInfo
from pairalign.data.kinds import cloud_rows, main_value, series_array

Sketch = dict[str, np.ndarray]
PROBED = ("background", "border", "mean", "raw", "difference")
LEVELS = ("low", "high", "std", "at_low", "at_high", "dead")
_BANDS = 64
_COARSE = 16  # bands of the spectrum that survive a cut
_WIDEST = 256
_CHANNELS = 64  # of a series that are looked at for steps
CONSTANT, ROUNDED = 1, 2


def sketch(value: Any, kind: Kind, info: ModalityInfo | None = None) -> Sketch:
    """The sketch of one value as stored, parts included; `kind` is that of its main value."""
    main = main_value(value)
    if kind == "text":
        return {}
    if kind == "image":
        found = _sketch_image(main, info)
        if isinstance(value, dict) and "background" in value:
            background = shrink(small_picture(value["background"], info))
            found["background"] = background.ravel()
            found["difference"] = found["raw"] - background.ravel()
        return found
    array = cloud_rows(main, info) if kind == "points" else np.asarray(main)
    array = array.astype(np.result_type(array.dtype, np.float32), copy=False)
    found = {"points": _sketch_points, "series": _sketch_series, "vector": _sketch_vector}[kind](array, info)
    if isinstance(value, dict) and np.shape(value.get("background", 0)) == array.shape:
        rest = np.asarray(value["background"], array.dtype)
        found["background"] = _sketch_series(rest, info)["raw"] if kind == "series" else rest.ravel()[:_WIDEST]
        found["difference"] = _sketch_series(array - rest, info)["raw"]
    return found


def _sketch_image(value: Any, info: ModalityInfo | None) -> Sketch:
    picture = small_picture(value, info)
    look = shrink(picture)
    array = as_array(value) if hasattr(value, "getbands") else np.asarray(value)
    return {
        "look": np.round(255 * shrink(contrasted(value, picture))).astype(np.uint8).ravel(),
        "cues": picture_cues(picture),
        "levels": _levels(array, _whole_range(array, info)),
        "mean": look.mean((0, 1)),
        "raw": look.ravel(),
        "border": border(look),
    }


def _whole_range(array: np.ndarray, info: ModalityInfo | None) -> tuple[float, float]:
    """The range in which clipping is looked for: that of bytes, else what the index met."""
    if array.dtype == np.uint8:
        return 0.0, 255.0
    return info.range if info is not None and info.range else (float(array.min()), float(array.max()))


def _levels(array: np.ndarray, full: tuple[float, float], dead: float = 0.0) -> np.ndarray:
    """Extremes, spread, share of values piled up at either end of the range `full`, and share of dead channels.

    One value at an end is no pile: where the range is what was met, some value is always there.
    """
    low, high = float(array.min()), float(array.max())
    at_low, at_high = (max(int(end.sum()) - 1, 0) / array.size for end in (array <= full[0], array >= full[1]))
    deviation = float(array.std(dtype=np.float64))
    return np.asarray([low, high, deviation, at_low, at_high, dead], np.float64)


def _sketch_points(array: np.ndarray, info: ModalityInfo | None) -> Sketch:
    xyz = array[:, :3]
    distinct = len(np.unique(xyz, axis=0)) / len(xyz)
    size = np.maximum(xyz.max(0) - xyz.min(0), 1e-9)
    cell = np.minimum((8 * (xyz - xyz.min(0)) / size.max()).astype(int), 7) @ np.array([64, 8, 1])
    grid = np.bincount(cell, minlength=512) / len(xyz)
    return {
        "look": cloud_shape(xyz),
        "levels": _levels(xyz, (-np.inf, np.inf), dead=1 - distinct),
        "flat": flatness(xyz.T),
        "mean": xyz.mean(0),
        "raw": np.sqrt(grid).astype(np.float32),
    }


def flatness(channels: np.ndarray) -> np.ndarray:
    """Of each channel of (C, N): `CONSTANT`, `ROUNDED` to few steps of float32 where it is stored so, or 0."""
    low, high = channels.min(1).astype(np.float64), channels.max(1).astype(np.float64)
    steps = np.spacing(np.maximum(np.abs(low), np.abs(high)).astype(np.float32)).astype(np.float64)
    rounded = (high - low < STEPS * steps) if channels.dtype == np.float32 else np.zeros(len(channels), bool)
    return np.where(low == high, CONSTANT, np.where(rounded, ROUNDED, 0)).astype(np.uint8)


def cloud_shape(xyz: np.ndarray, most: int = 512) -> np.ndarray:
    """98 numbers of a cloud that no shift, scale, rotation or order of its points changes.

    Quantiles of the distance from the centre, the distribution of distances between points (D2 of Osada et al. 2002)
    and the principal extents.
    """
    centred = xyz - xyz.mean(0)
    radius = np.sqrt((centred**2).sum(1))
    scale = np.sqrt((radius**2).mean()) + 1e-9
    some = centred[np.argsort(radius, kind="stable")[:: max(1, -(-len(xyz) // most))]] / scale
    square = (some**2).sum(1)
    apart = np.sqrt(np.maximum(square[:, None] + square - 2 * some @ some.T, 0))
    counts, _ = np.histogram(apart, 64, (0, 4))
    extents = np.sqrt(np.maximum(np.linalg.eigvalsh(np.cov((centred / scale).T, bias=len(xyz) == 1)), 0))
    quantiles = np.quantile(radius / scale, np.linspace(0, 1, 33)[1:-1])
    return np.concatenate([quantiles, counts.cumsum() / apart.size, extents]).astype(np.float32)


def _sketch_series(array: np.ndarray, info: ModalityInfo | None) -> Sketch:
    series = series_array(array, info)
    centred = series - series.mean(1, keepdims=True)
    bins, power = _in_bins(series), np.sqrt(_in_bins(centred**2))
    amplitude = np.abs(np.fft.rfft(centred, axis=1))
    spectrum = np.log(_in_bins(amplitude) + 1e-6).mean(0)
    coarse = np.log(_in_bins(amplitude, _COARSE) + 1e-6).mean(0)
    envelope = power.mean(0) / (power.mean() + 1e-12)
    deviation = series.std(1)
    numbers = [*np.percentile(series, [0, 25, 50, 75, 100]), series.std(), np.log(deviation.mean() + 1e-9)]
    return {
        "look": np.concatenate([np.sort(envelope), coarse - coarse.mean()]).astype(np.float32),  # of no certain time
        "cues": np.asarray([*numbers, *spectrum[::4]], np.float32),
        "levels": _levels(series, _whole_range(series, info), dead=float((deviation == 0).mean())),
        "flat": flatness(series[:_CHANNELS]),
        "mean": series.mean(1)[:_WIDEST],
        "raw": bins.ravel()[: 4 * _WIDEST],
    }


def _in_bins(rows: np.ndarray, bins: int = _BANDS) -> np.ndarray:
    """(C, bins) means of (C, T) over slices of equal length; a short row is repeated first."""
    if rows.shape[1] < bins:
        rows = np.repeat(rows, -(-bins // rows.shape[1]), 1)
    edges = np.linspace(0, rows.shape[1], bins + 1).astype(int)
    return np.add.reduceat(rows, edges[:-1], 1) / np.diff(edges)


def _sketch_vector(array: np.ndarray, info: ModalityInfo | None) -> Sketch:
    flat = array.ravel()
    if len(flat) > _WIDEST:
        draw = np.random.default_rng(0).normal(size=(len(flat), _WIDEST)) / np.sqrt(_WIDEST)
        flat = flat @ draw.astype(flat.dtype)
    cues = [*np.percentile(flat, [0, 25, 50, 75, 100]), flat.std(), flat.mean(), *np.resize(flat, 8)]
    return {
        "look": flat,
        "cues": np.asarray(cues, np.float32),
        "levels": _levels(array, (-np.inf, np.inf)),
        "raw": flat,
    }
