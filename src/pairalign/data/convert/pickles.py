"""The only door for pickled files: shut, unless the user says that the source is trusted, and even then a narrow one.

A pickle may run any program when it is read. Here it may name numpy's makers of arrays, scalars and dtypes, sets and
byte strings, and nothing else, so that a file which wants more is refused and nothing of it has run. Source:
"Restricting Globals" in the documentation of Python's pickle.
Where it bites: Python's reader makes room for what a pickle promises before it looks whether that is there, so the
promises are read first; still, trust no file from where you would not run a program.
"""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pairalign.core.errors import DataError
from pairalign.core.limits import check, open_plain, read_bytes
from pairalign.data.arrays import read_npy


def _latin(text: str, encoding: str) -> bytes:
    """How pickles of protocol 2 spell bytes, through `_codecs.encode`; no other codec is looked up."""
    if encoding != "latin1":
        raise DataError(f"the pickle wants the codec {encoding!r}, which no data needs: the file is refused.")
    return text.encode("latin1")


def _from_buffer(buffer: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> np.ndarray:
    """How pickles of protocol 5 spell arrays."""
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order)


class _Arrays:
    """Stands for `numpy.ndarray`, which pickles name, and which would make an array of any size if it were called."""


def _empty(kind: Any, shape: Any, dtype: Any) -> Any:
    """What numpy's arrays start as, before their state: empty in every pickle that numpy wrote."""
    if kind is not _Arrays or np.prod(shape, dtype=object) > 1:
        raise DataError("the pickle wants an array of a size that no pickle states: the file is refused.")
    return _array(np.ndarray, shape, dtype)


def _bytes(data: Any = b"", *more: Any) -> bytearray:
    """A `bytearray` of bytes; of a number it would make any size."""
    if not isinstance(data, (bytes, str)):
        raise DataError("the pickle wants a bytearray of no bytes, which no data needs: the file is refused.")
    return bytearray(data, *more) if isinstance(data, str) else bytearray(data)


_array: Any = np.zeros(1).__reduce__()[0]
_SCALAR: Any = np.float64(0).__reduce__()[0]
MAKERS: dict[tuple[str, str], Any] = {  # numpy 2 renamed numpy.core; a file of either is read by either
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): _Arrays,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _empty for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _SCALAR for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
    ("_codecs", "encode"): _latin,
    **{(home, kind.__name__): kind for home in ("builtins", "__builtin__") for kind in (set, frozenset)},
    **{(home, "bytearray"): _bytes for home in ("builtins", "__builtin__")},
}


def _check_promises(stream: BinaryIO) -> None:
    """Raise `DataError` for places in the reader's memory beyond what the file could fill, `ValueError` for damage."""
    start = stream.tell()
    size = stream.seek(0, os.SEEK_END)
    stream.seek(start)
    for opcode, value, _ in pickletools.genops(stream):  # runs nothing
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and not 0 <= int(value or 0) <= size:
            raise DataError(f"the pickle wants a place {value} in memory, which no file of {size} bytes needs.")
    stream.seek(start)


class _Narrow(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in MAKERS:
            raise DataError(f"the pickle wants {module}.{name}, which no data needs: the file is refused.")
        return MAKERS[module, name]


def load_pickled_npy(path: Path, trusted: bool) -> Any:
    """What an .npy file holds: a plain array at once; a pickled object (a dict of arrays) only if it is trusted.

    Raise `DataError` for a pickle that is not trusted, that wants more than numpy's arrays, or that is damaged.
    """
    with io.BytesIO(read_bytes(path)) as stream:
        try:
            dtype = _header(stream)
            if dtype is not None and not dtype.hasobject:
                return read_npy(stream.getvalue())
            if not trusted:
                raise DataError(
                    f"{path.name} is a pickle, which may run any program when it is read: if you trust its source, "
                    "give the option trust_pickles=true."
                )
            _check_promises(stream)
            value = _Narrow(stream).load()
        except DataError as error:
            raise DataError(f"{path.name}: {error}" if path.name not in str(error) else str(error)) from None
        except Exception as error:  # a damaged pickle raises almost anything
            raise DataError(f"{path.name}: is damaged ({type(error).__name__}: {error}).") from error
    return value.item() if isinstance(value, np.ndarray) and value.dtype == object and value.ndim == 0 else value


def _header(stream: BinaryIO) -> np.dtype[Any] | None:
    """Read an .npy header; `None` for a bare pickle, with the stream at its start."""
    if stream.read(6) != b"\x93NUMPY":
        stream.seek(0)
        return None
    stream.seek(0)
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(stream)[2]


def _check_archive(path: Path) -> None:
    """Raise `DataError` for a `.pt` file that is no plain file, is too large, or unpacks to more than its own bytes."""
    with os.fdopen(open_plain(path), "rb") as stream:
        check("file", os.fstat(stream.fileno()).st_size, "the file")
        if zipfile.is_zipfile(stream):
            with zipfile.ZipFile(stream) as archive:
                if any(about.compress_type != zipfile.ZIP_STORED for about in archive.infolist()):
                    raise DataError("is packed, as torch.save packs none: save it again with torch.save.")


def load_tensor(path: Path) -> np.ndarray:
    """The tensor of a `.pt` file as an array; nothing but tensors is admitted. Raise `DataError` otherwise."""
    import torch

    try:
        _check_archive(path)
        value = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except DataError as error:
        raise DataError(f"{path.name}: {error}") from error
    except Exception as error:  # a foreign class, a damaged archive
        raise DataError(f"{path.name}: is no plain tensor ({str(error).splitlines()[0]}).") from error
    if not isinstance(value, torch.Tensor):
        raise DataError(f"{path.name}: holds a {type(value).__name__}, where a tensor is needed.")
    if value.dtype.is_complex or value.layout != torch.strided:
        raise DataError(
            f"{path.name}: holds a tensor of {value.dtype}, {value.layout}, where plain numbers are needed."
        )
    array: np.ndarray = value.detach().float().numpy()
    return array
