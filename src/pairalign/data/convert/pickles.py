"""The only door for pickled files: shut, unless the user says that the source is trusted, and even then a narrow one.

A pickle may run any program when it is read. Here it may name numpy's own array, scalar and dtype makers and nothing
else, so that a file which wants more is refused and nothing of it has run. Source: "Restricting Globals" in the
documentation of Python's pickle.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pairalign.errors import DataError

MAKERS = {
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
}


class _Narrow(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in MAKERS:
            raise DataError(f"the pickle wants {module}.{name}, which no data needs: the file is refused.")
        return super().find_class(module, name)


def load_pickled_npy(path: Path, trusted: bool) -> Any:
    """What an .npy file holds: a plain array at once; a pickled object (a dict of arrays) only if it is trusted.

    Raise `DataError` for a pickle that is not trusted, that wants more than numpy's arrays, or that is damaged.
    """
    with path.open("rb") as stream:
        try:
            dtype = _header(stream)
            if dtype is not None and not dtype.hasobject:
                stream.seek(0)
                return np.load(stream, allow_pickle=False)
            if not trusted:
                raise DataError(
                    f"{path.name} is a pickle, which may run any program when it is read: if you trust its source, "
                    "give the option trust_pickles=true."
                )
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


def load_tensor(path: Path) -> np.ndarray:
    """The tensor of a `.pt` file as an array; nothing but tensors is admitted. Raise `DataError` otherwise."""
    import torch

    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a foreign class, a damaged archive
        raise DataError(f"{path.name}: is no plain tensor ({str(error).splitlines()[0]}).") from error
    if not isinstance(value, torch.Tensor):
        raise DataError(f"{path.name}: holds a {type(value).__name__}, where a tensor is needed.")
    array: np.ndarray = value.detach().float().numpy()
    return array
