"""The two values that everything else speaks about: a `Signal` (what a sensor measures) and `Features` (what an
encoder makes of it).

Free of torch at import, so that the command line and the registry stay light.

Note:
    A shape entry of `None` is a free size; everything else is checked exactly, because a silent broadcast is the worst
    kind of bug.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from pairalign.core.errors import SignalError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["image", "points", "series", "text", "vector"]
DTYPES = ("float16", "bfloat16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool")


@dataclass(frozen=True)
class Signal:
    """What one sample of a sensor is, once preprocessed.

    Args:
        kind: decides the default reconstruction target and how the signal is drawn.
        shape: sizes per sample, without the batch; `None` where a size is free.
        dtype: a torch dtype by name.
        unit: of the values ("kPa", "m", "1" for none; the number 1 is "1"); compared with what the data's index
            records.
        rate: samples a second in Hz along the time axis; `None` where there is no time axis.
        axes: a name per entry of `shape` ("channel", "time").
        range: inclusive (low, high) that finite values must lie in; `None` for unbounded.

    Raises:
        SignalError: where these do not fit together.

    Example:
        >>> import torch
        >>> from pairalign import Signal
        >>> glove = Signal("series", (16, 100), unit="kPa", rate=100.0, axes=("taxel", "time"))
        >>> glove.check(torch.zeros(16, 100), "this touch")
        >>> glove.check(torch.zeros(16, 99), "this touch")
        Traceback (most recent call last):
        pairalign.core.errors.SignalError: ...
    """

    kind: Kind
    shape: tuple[int | None, ...]
    dtype: str = "float32"
    unit: str = "1"
    rate: float | None = None
    axes: tuple[str, ...] = ()
    range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise SignalError(f"Signal(kind={self.kind!r}): use one of {', '.join(get_args(Kind))}.")
        if self.dtype not in DTYPES:
            raise SignalError(f"Signal(dtype={self.dtype!r}): use a torch dtype.{did_you_mean(self.dtype, DTYPES)}")
        if self.range is not None and not self.range[0] <= self.range[1]:
            raise SignalError(f"Signal(range={self.range!r}): give (low, high) with low ≤ high, or None for unbounded.")
        object.__setattr__(self, "unit", as_unit(self.unit))
        if self.axes and len(self.axes) != len(self.shape):
            raise SignalError(
                f"Signal(axes={self.axes!r}) names {len(self.axes)} axes for shape {self.shape}: name one per size."
            )
        if self.rate is not None and not self.rate > 0:
            raise SignalError(f"Signal(rate={self.rate!r}): give a positive rate in Hz, or None for no time axis.")

    def check(self, value: Tensor, where: str, *, batched: bool = False) -> None:
        """Raise `SignalError` unless a value keeps every declared promise.

        Args:
            value: one sample, or a batch of them.
            where: what the error calls it.
            batched: whether it is a batch.
        """
        if not hasattr(value, "is_floating_point"):
            raise SignalError(f"{where}: is a {type(value).__name__}: return a torch.Tensor.")
        shape = tuple(value.shape[1:] if batched else value.shape)
        if len(shape) != len(self.shape) or any(
            want not in (None, got) for want, got in zip(self.shape, shape, strict=True)
        ):
            raise SignalError(
                f"{where}: shape {shape} is not the declared {self.shape}: change preprocess() or Signal(shape=...)."
            )
        if str(value.dtype).removeprefix("torch.") != self.dtype:
            raise SignalError(
                f"{where}: dtype {value.dtype} is not the declared {self.dtype}: change preprocess() or the Signal."
            )
        bounded = self.range is not None and (self.dtype, self.range) != ("uint8", (0, 255))  # every byte is in that
        if value.numel() and (value.dtype.is_floating_point or bounded):
            self._check_values(value, where)

    def _check_values(self, value: Tensor, where: str) -> None:
        low, high = map(float, value.aminmax())  # one pass: a NaN or an infinity shows in it
        if not (isfinite(low) and isfinite(high)):
            raise SignalError(f"{where}: holds NaN or infinity: repair or drop this sample.")
        if self.range is not None and (low < self.range[0] or high > self.range[1]):
            raise SignalError(
                f"{where}: values {low:.4g} to {high:.4g} leave the declared range {self.range}"
                f" ({self.unit}): check the unit of the data or Signal(range=...)."
            )

    def check_recorded(self, recorded: dict[str, Any], where: str, fixes: Mapping[str, str] | None = None) -> None:
        """Raise `SignalError` where the unit or rate that a data index records differs from the declared one.

        Args:
            recorded: what the index says of the modality.
            where: what the error calls it.
            fixes: by "unit" and "rate", what sets that of the encoder, such as "modalities.points.options.unit".
        """
        for name, mine in (("unit", self.unit), ("rate", self.rate)):
            theirs = as_unit(recorded.get(name)) if name == "unit" else recorded.get(name)
            if theirs is not None and theirs != mine:
                setting = (fixes or {}).get(name)
                value = f"{theirs:g}" if isinstance(theirs, float) else theirs
                fix = f"set {setting}={value}" if setting else f"give the encoder Signal({name}={theirs!r})"
                raise SignalError(
                    f"{where}: the data records {name} {theirs!r}, the encoder declares {mine!r}: convert the data; "
                    f"or, where the encoder is to read it as it is, {fix}; or pack it as {name}={mine!r} if it is that."
                )


def as_unit(unit: Any) -> Any:
    """A unit as it is compared: YAML reads `unit: 1` as a number, and "1" is meant."""
    return f"{unit:g}" if isinstance(unit, (int, float)) and not isinstance(unit, bool) else unit


class Features(NamedTuple):
    """What an encoder returns.

    Attributes:
        tokens: (B, T, D), one per patch, frame or point group.
        pooled: (B, D), one for the whole sample.

    Example:
        >>> import torch
        >>> from pairalign import Features
        >>> tokens = torch.zeros(2, 10, 8)
        >>> Features(tokens, tokens.mean(1)).pooled.shape
        torch.Size([2, 8])
    """

    tokens: Tensor
    pooled: Tensor
