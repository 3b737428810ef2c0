"""Numbers into the dtype that a `Signal` declares, refused where that loses what tells them apart.

Note:
    Float32 keeps about seven digits, so seconds since 1970 are kept to 128 s and metres on a map to half a metre;
    numbers that large carry their message in what is left over. Compared are each channel's rounding and its range: a
    channel may not be rounded by more than 1/`LEVELS` of what it varies by.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pairalign.core.errors import SignalError

LEVELS = 256


def narrowed(raw: Any, dtype: str) -> Tensor:
    """An array, tensor or number as a tensor of that dtype; raise `SignalError` where the cast would lose it."""
    if isinstance(raw, Tensor):
        value = raw
    else:
        array = np.asarray(raw)
        if array.dtype.kind not in "biuf":
            raise SignalError(f"a value of {array.dtype} is no array of numbers: convert it in preprocess().")
        native = array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
        value = torch.as_tensor(np.ascontiguousarray(native).reshape(native.shape))
    wanted: torch.dtype = getattr(torch, dtype)
    cast = value.to(wanted)
    if cast.dtype != value.dtype and _may_lose(value.dtype, wanted):
        _check(value, cast, dtype)
    return cast


def check_range(low: float, high: float, dtype: str, where: str) -> None:
    """Raise `SignalError` where numbers between `low` and `high` are nearly one and the same in a dtype of floats."""
    step = _step(max(abs(low), abs(high)), dtype)
    if high > low and step * LEVELS > high - low:
        raise _lost(low, high, step, dtype, where)


def _may_lose(stored: torch.dtype, wanted: torch.dtype) -> bool:
    """Whether a number of `stored` may be none of `wanted`."""
    if stored == torch.bool or wanted.is_complex or stored.is_complex:
        return False
    if wanted.is_floating_point and stored.is_floating_point:
        return torch.finfo(wanted).bits < torch.finfo(stored).bits
    return not (wanted.is_floating_point and torch.iinfo(stored).bits <= 16 and torch.finfo(wanted).bits >= 32)


def _check(value: Tensor, cast: Tensor, dtype: str) -> None:
    before, after = _channels(value), _channels(cast)
    if before.shape[1] == 0:
        return
    off = np.abs(before - after).max(1)
    if not cast.dtype.is_floating_point:
        if off.any():
            raise SignalError(
                f"values from {before.min():.9g} to {before.max():.9g} are not whole numbers of {dtype}: round or "
                "scale them in preprocess(), or declare another Signal(dtype=...)."
            )
        return
    spread = before.max(1) - before.min(1)
    bad = np.flatnonzero((spread > 0) & (off * LEVELS > spread))
    if len(bad):
        low, high = float(before[bad[0]].min()), float(before[bad[0]].max())
        raise _lost(low, high, _step(max(abs(low), abs(high)), dtype), dtype, f"channel {bad[0]}")


def _channels(value: Tensor) -> np.ndarray:
    """float64 (channels, N): of a table the rows or columns that are fewer, of all else the values in one."""
    array = value.detach().cpu().double().numpy()
    if array.ndim != 2:
        return array.reshape(1, -1)
    return array if array.shape[0] <= array.shape[1] else array.T


def _step(size: float, dtype: str) -> float:
    """Distance of the numbers of a dtype around `size`."""
    return float(torch.finfo(getattr(torch, dtype)).eps) * 2.0 ** np.floor(np.log2(size)) if size else 0.0


def _lost(low: float, high: float, step: float, dtype: str, where: str) -> SignalError:
    return SignalError(
        f"{where}: values from {low:.12g} to {high:.12g} vary by {high - low:.3g}, and {dtype} keeps them to "
        f"{step:.3g}: take an origin away before packing (x - x[0]), or read them in float64 in your preprocess()."
    )
