"""What a pickled file may name: numpy's arrays, scalars and types, sets and byte strings, each made here.

Numpy's own makers trust what a pickle tells them, so that a type with another's flags, or an array of objects whose
values are no list, ends the process. Here a type is read from its name, and an array's values have to be as many as
its shape says.

Note:
    A pickle may also set attributes of whatever it holds, of these makers too, for all later readers: so a maker is a
    tuple, which has none that can be set.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from pairalign.core.errors import DataError
from pairalign.core.limits import check

_NAME = re.compile(r"[?a-zA-Z]\d{0,9}")


def refused(what: str) -> DataError:
    """The error of a pickle that wants something that no data needs."""
    return DataError(f"the pickle wants {what}, which no data needs: the file is refused.")


class _Dtype:
    """Stands for `numpy.dtype` until an array has it. made: the type."""

    def __init__(self, name: Any, *_: Any) -> None:
        if isinstance(name, bytes):
            name = name.decode("ascii")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise refused(f"a type {name!r}")
        self.made: np.dtype[Any] = np.dtype(name)

    def __setstate__(self, state: Any) -> None:
        _, order, inner, names, fields, size, *_ = state
        if inner is not None:
            raise refused("a type of arrays")
        if names is not None:
            told = [fields[name] for name in names]
            places = {"offsets": [one[1] for one in told], "itemsize": size}
            form: Any = {"names": list(names), "formats": [type_of(one[0]) for one in told], **places}
            self.made = np.dtype(form)
        elif order in (">", b">"):
            self.made = self.made.newbyteorder(">")
        elif order in ("<", b"<"):
            self.made = self.made.newbyteorder("<")


def type_of(dtype: Any) -> np.dtype[Any]:
    """The type that a pickle made."""
    if not isinstance(dtype, _Dtype):
        raise refused(f"{type(dtype).__name__} as a type")
    return dtype.made


class PickledArray(np.ndarray):
    """An array out of a pickle, which takes its values once, as many as its shape says."""

    def __setstate__(self, state: Any) -> None:
        *_, shape, told, fortran, values = state
        dtype: Any = type_of(told)
        if self.__dict__ or not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
            raise refused(f"an array of shape {shape!r}")
        if isinstance(values, str):  # of a protocol without bytes
            values = values.encode("latin1")
        count = math.prod(shape)
        check("values", count, "the array")
        one = 1 if dtype.hasobject else dtype.itemsize
        if dtype.names and dtype.hasobject:
            raise refused("an array with fields of objects")
        if not isinstance(values, list if dtype.hasobject else bytes) or len(values) != count * one:
            raise refused(f"an array of shape {shape} and {dtype} of other values")
        state = (1, shape, dtype, bool(fortran), values)
        super().__setstate__(state)
        self.whole = True


class Maker(NamedTuple):
    """Calls `make`. As a tuple it has no attribute that a pickle could set."""

    make: Callable[..., Any]

    def __call__(self, *args: Any) -> Any:
        return self.make(*args)


def _nothing(*_: Any) -> Any:
    raise refused("an array that is made by a call")


ARRAYS = Maker(_nothing)
"""Stands for `numpy.ndarray`, which pickles name, and which would make an array of any size if it were called."""


def _empty(kind: Any, shape: Any, *_: Any) -> PickledArray:
    """What numpy's arrays start as, before their state: of shape (0,) in every pickle that numpy wrote."""
    if kind is not ARRAYS or shape != (0,):
        raise refused("an array of a size that no pickle states")
    return PickledArray((0,), np.int8)


def _scalar(dtype: Any, value: Any = b"") -> Any:
    made = type_of(dtype)
    data = value.encode("latin1") if isinstance(value, str) else value
    if made.hasobject or not isinstance(data, bytes) or len(data) != made.itemsize:
        raise refused(f"a number of {made} of other bytes")
    return np.frombuffer(data, made, 1)[0]


def _latin(text: str, encoding: str) -> bytes:
    """How pickles of protocol 2 spell bytes, through `_codecs.encode`; no other codec is looked up."""
    if encoding != "latin1":
        raise refused(f"the codec {encoding!r}")
    return text.encode("latin1")


def _from_buffer(buffer: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> np.ndarray:
    """How pickles of protocol 5 spell arrays."""
    return np.frombuffer(buffer, dtype=type_of(dtype)).reshape(shape, order=order)


def _bytes(data: Any = b"", *more: Any) -> bytearray:
    """A `bytearray` of bytes; of a number it would make any size."""
    if not isinstance(data, (bytes, str)):
        raise refused("a bytearray of no bytes")
    return bytearray(data, *more) if isinstance(data, str) else bytearray(data)


MAKERS: dict[tuple[str, str], Any] = {  # numpy 2 renamed numpy.core; a file of either is read by either
    ("numpy", "dtype"): Maker(_Dtype),
    ("numpy", "ndarray"): ARRAYS,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): Maker(_empty) for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): Maker(_scalar) for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): Maker(_from_buffer) for core in ("core", "_core")},
    ("_codecs", "encode"): Maker(_latin),
    **{(home, kind.__name__): Maker(kind) for home in ("builtins", "__builtin__") for kind in (set, frozenset)},
    **{(home, "bytearray"): Maker(_bytes) for home in ("builtins", "__builtin__")},
}
