"""The only door for pickled files: shut, unless the user says that the source is trusted, and even then a narrow one.

A pickle may run any program when it is read. Here it may name what `narrow.MAKERS` makes, and nothing else, so that a
file which wants more is refused and nothing of it has run. Source: "Restricting Globals" in the documentation of
Python's pickle.

Note:
    Python's reader makes room for what a pickle promises before it looks whether that is there, so the promises are
    read first; still, trust no file from where you would not run a program.
"""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import zipfile
from collections import deque
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pairalign.core.author import reason_of
from pairalign.core.errors import DataError
from pairalign.core.limits import check, open_plain, read_bytes
from pairalign.data.arrays import read_header, read_npy
from pairalign.data.convert.narrow import MAKERS, refused

LONGEST = 1 << 14  # bytes of the pickle of one tensor, several times what it takes
OLD_PARTS = 5  # pickles at the head of what torch wrote before 1.6: two numbers, a machine, the tensor, its storages


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
            raise refused(f"{module}.{name}")
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
            raise DataError(f"{path.name}: is damaged ({reason_of(error)}).") from error
    return value.item() if isinstance(value, np.ndarray) and value.dtype == object and value.ndim == 0 else value


def _header(stream: BinaryIO) -> np.dtype[Any] | None:
    """The type of an .npy file, its header read; `None` for a bare pickle, with the stream at its start."""
    plain = stream.read(6) == b"\x93NUMPY"
    stream.seek(0)
    return read_header(stream)[1] if plain else None


def _check_archive(path: Path) -> bool:
    """Whether a `.pt` file is an archive that may be mapped. Raise `DataError` where it is no plain file, is too large,
    unpacks to more than its own bytes, or says more than one tensor needs: torch would read it all, then refuse."""
    with os.fdopen(open_plain(path), "rb") as stream:
        check("file", os.fstat(stream.fileno()).st_size, "the file")
        if not zipfile.is_zipfile(stream):
            stream.seek(0)
            _check_words(stream.read(LONGEST + 1), OLD_PARTS)
            return False
        with zipfile.ZipFile(stream) as archive:
            for about in archive.infolist():
                if about.compress_type != zipfile.ZIP_STORED:
                    raise DataError("is packed, as torch.save packs none: save it again with torch.save.")
                if about.filename.rpartition("/")[2] == "data.pkl":
                    _check_words(archive.read(about), 1)
    return True


def _check_words(data: bytes, parts: int) -> None:
    """Raise `DataError` unless so many pickles, one behind the other, are as short as those of a tensor."""
    stream = io.BytesIO(data[:LONGEST])
    try:
        for _ in range(parts):
            deque(pickletools.genops(stream), 0)  # runs nothing
    except Exception:  # cut, or no pickle
        if len(data) > LONGEST:
            raise DataError(f"holds more than a tensor: its pickle has over {LONGEST} bytes.") from None
        raise


def load_tensor(path: Path) -> np.ndarray:
    """The tensor of a `.pt` file as an array; nothing but tensors is admitted. Raise `DataError` otherwise."""
    import torch

    try:
        mapped = _check_archive(path)
        value = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except DataError as error:
        raise DataError(f"{path.name}: {error}") from error
    except Exception as error:  # a foreign class, a damaged archive
        raise DataError(f"{path.name}: is no plain tensor ({reason_of(error)}).") from error
    if not isinstance(value, torch.Tensor):
        raise DataError(f"{path.name}: holds a {type(value).__name__}, where a tensor is needed.")
    if value.dtype.is_complex or value.layout != torch.strided:
        raise DataError(
            f"{path.name}: holds a tensor of {value.dtype}, {value.layout}, where plain numbers are needed."
        )
    array: np.ndarray = value.detach().float().numpy()
    return array
