"""An array from anywhere as plain numbers: native byte order, no fields, no dates; everything else refused by name.

Note:
    A structured array (a ROS cloud) becomes columns in the order of `COLUMNS`, and one that holds any other field is
    refused rather than cut; values are never converted to a smaller type here, so a time stamp in float64 stays one
    until an encoder has taken its origin away.
"""

from __future__ import annotations

import io
import reprlib
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from pairalign.core.errors import DataError
from pairalign.core.limits import check

# What a column of a named cloud may be called, in the order in which the columns are stored.
COLUMNS: tuple[tuple[str, ...], ...] = (
    ("x",), ("y",), ("z",),
    ("normal_x", "nx"), ("normal_y", "ny"), ("normal_z", "nz"),
    ("r", "red"), ("g", "green"), ("b", "blue"),
    ("intensity", "i", "reflectivity"),
)  # fmt: skip
PACKED = ("rgb", "rgba")  # three bytes in one number, as ROS stores colours
OPAQUE = ("a", "alpha")  # left out where it says nothing
LONGEST_HEADER = 1 << 16  # bytes
_NUMBERS = "biuf"
_FIX = {
    "O": "an array of Python objects: stack its entries into one array of numbers, or pack them one a sample",
    "U": "an array of words: pack one text a sample, or a list of texts as JSON",
    "S": "an array of words: pack one text a sample, or a list of texts as JSON",
    "M": "an array of dates: store seconds since the first, (a - a[0]) / numpy.timedelta64(1, 's')",
    "m": "an array of durations: store seconds, a / numpy.timedelta64(1, 's')",
    "c": "an array of complex numbers: store numpy.stack([a.real, a.imag])",
    "V": "an array of raw bytes: give it a type of numbers",
    "T": "an array of words: pack one text a sample, or a list of texts as JSON",
}


def read_npy(data: bytes) -> np.ndarray:
    """The array of an npy file; raise `DataError` for pickles, a cut file and what `plain_array` refuses."""
    stream = io.BytesIO(data)
    shape, dtype = read_header(stream)
    if dtype.hasobject:
        raise _refused(dtype)
    count = int(np.prod(shape, dtype=object))
    size = count * dtype.itemsize
    if size > len(data) - stream.tell():
        raise DataError(f"the bytes are no valid npy: the header promises {size} bytes of values, the file is cut.")
    check("values", count, "the array")  # of a type without a size any number fits
    stream.seek(0)
    return plain_array(np.lib.format.read_array(stream, allow_pickle=False))


def read_header(stream: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type that an npy file tells, with the stream behind them. Raise `DataError` for a header that takes
    more than it may, before numpy makes room for it, and what numpy raises for a damaged one."""
    start = stream.tell()
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    size = int.from_bytes(stream.read(2 if version == (1, 0) else 4), "little")
    if size > LONGEST_HEADER:
        raise DataError(f"the bytes are no valid npy: the header promises {size} bytes of itself.")
    check("nesting", _nesting(stream.read(size)), "the header")
    stream.seek(start + len(np.lib.format.magic(*version)))
    shape, _, dtype = read(stream)
    return shape, dtype


def _nesting(words: bytes) -> int:
    """How many brackets are open at once, as a parser that reads them counts."""
    signs = np.frombuffer(words, np.uint8)
    steps = np.isin(signs, list(b"([{")).astype(np.int64) - np.isin(signs, list(b")]}"))
    return int(steps.cumsum().max(initial=0))


def dtype_of(name: str) -> np.dtype[Any]:
    """The type that a file names; raise `ValueError` for what is none, whatever numpy raises where it reads it."""
    try:
        return np.dtype(name)
    except Exception as error:  # numpy reads it as Python, up to SyntaxError
        raise ValueError(f"dtype {reprlib.repr(name)} is no type of numpy") from error


def plain_array(value: Any) -> np.ndarray:
    """The same values as an array of native numbers; raise `DataError` with the fix for what has none."""
    if isinstance(value, np.ma.MaskedArray):
        if np.ma.is_masked(value):
            raise DataError("a masked array cannot be stored: fill what is masked (array.filled) first.")
        value = value.data
    array = np.asarray(value)
    if array.dtype.names:
        array = columns_of(array)
    if array.dtype.kind not in _NUMBERS:
        raise _refused(array.dtype)
    if array.dtype.itemsize > 8:
        raise DataError(f"an array of dtype {array.dtype} cannot be stored: convert it to float64.")
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def columns_of(array: np.ndarray) -> np.ndarray:
    """A structured array as a table (N, columns), in the order of `COLUMNS`; a grid of points is flattened."""
    flat = array.ravel()
    return table_of({name: flat[name] for name in array.dtype.names or ()})


def table_of(fields: Mapping[str, np.ndarray]) -> np.ndarray:
    """Named columns of one length as a table (N, columns), in the order of `COLUMNS`.

    Colours packed into one number become three columns of 0 to 255. Raise `DataError` for a name without a meaning.
    """
    found = {name.lower(): column for name, column in fields.items()}
    for name in PACKED:
        if name in found and found[name].dtype.itemsize == 4:
            bits = np.ascontiguousarray(found.pop(name)).view(np.uint32)
            found |= {colour: (bits >> shift).astype(np.uint8) for colour, shift in (("r", 16), ("g", 8), ("b", 0))}
    for name in OPAQUE:
        if name in found and len(np.unique(found[name])) <= 1:
            found.pop(name)
    chosen = [next((found.pop(name) for name in names if name in found), None) for names in COLUMNS]
    columns = [column for column in chosen if column is not None]
    if found or not columns or any(c.ndim != 1 or c.dtype.kind not in _NUMBERS for c in columns):
        known = ", ".join(names[0] for names in COLUMNS)
        unknown = f" ({', '.join(sorted(found))} has none)" if found else ""
        raise DataError(
            f"a structured array with the fields {', '.join(fields)}: only {known} have a known meaning{unknown}. "
            "Choose columns yourself: numpy.lib.recfunctions.structured_to_unstructured(a[['x', 'y', 'z']])."
        )
    return np.stack(columns, axis=1)


def check_finite(value: Any) -> None:
    """Raise `DataError` if a decoded array holds NaN or infinity."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "f" and not np.isfinite(value).all():
        raise DataError(f"holds NaN or infinity in {int((~np.isfinite(value)).sum())} of {value.size} values.")


def _refused(dtype: np.dtype) -> DataError:
    kind = "O" if dtype.hasobject else dtype.kind
    return DataError(f"{_FIX.get(kind, 'numbers are needed')} (dtype {dtype}, which cannot be stored).")
