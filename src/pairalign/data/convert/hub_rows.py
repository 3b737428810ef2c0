"""Single cells of a data set of the package `datasets`, opened once in each process. Needs the extra `hub`.

Note:
    What `save_to_disk` wrote is mapped into memory where it lies, but parquet and image folders pass once through the
    package's own cache (`HF_DATASETS_CACHE`), which needs as much disk. Nothing is fetched and no script of a folder is
    run. Pictures are stored as they are, whatever their format; of an animated one the first frame is read.
"""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from pairalign.core.errors import DataError
from pairalign.core.limits import read_bytes
from pairalign.data.convert.extra import need
from pairalign.data.made import Stored
from pairalign.data.raster import picture_extension
from pairalign.files import stays_inside

STARTS = {b"\xff\xd8\xff": "jpg", b"\x89PNG\r\n\x1a\n": "png", b"\x93NUMPY": "npy", b"P5": "pgm"}


def need_datasets() -> Any:
    """The package `datasets`, or a `DataError` that says how to get it."""
    return need("datasets", "hub", "this dataset format is read by the package datasets")


def state_of(folder: Path) -> str:
    """Hash of name, size and time of change of every file: what is made from another state is made again."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and path.suffix != ".tar" and not any(part.startswith(".") for part in name.parts):
            digest.update(f"{name} {path.stat().st_size} {path.stat().st_mtime_ns}\n".encode())
    return digest.hexdigest()


@lru_cache(2)
def open_splits(folder: Path, state: str) -> dict[str, Any]:
    """Data set by split, images and sounds as the bytes that they are; `state` as `state_of` gives it."""
    datasets = need_datasets()
    try:
        if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
            found = datasets.load_from_disk(str(folder))
        else:
            kind = "parquet" if any(folder.glob("*.parquet")) or any(folder.glob("*/*.parquet")) else "imagefolder"
            found = datasets.load_dataset(kind, data_dir=str(folder))
    except Exception as error:  # its own errors, pyarrow's, and those of the disk
        reason = str(error).partition("\n")[0]
        raise DataError(f"folder {folder.name!r} cannot be read by datasets ({reason}).") from error
    splits = found if isinstance(found, dict) else {str(found.split or "train"): found}
    return {name: _undecoded(data) for name, data in splits.items()}


def _undecoded(data: Any) -> Any:
    for name, feature in data.features.items():
        if getattr(feature, "decode", False) is True:
            data = data.cast_column(name, type(feature)(decode=False))
    return data


@lru_cache(64)
def _column(folder: Path, state: str, split: str, column: str) -> Any:
    return open_splits(folder, state)[split].select_columns([column])


def read_cell(folder: Path, state: str, split: str, row: int, column: str) -> Any:
    """A cell as a value to pack; raise `DataError` if it is empty or damaged."""
    data = _column(folder, state, split, column)
    return _value(data[row][column], data.features[column], folder)


def is_readable(feature: Any) -> bool:
    """Whether `read_cell` knows what to do with a column of this type."""
    if isinstance(feature, dict):
        return {"bytes", "path"} <= feature.keys()
    return hasattr(feature, "decode") or dtype_of(feature) is not None


def dtype_of(feature: Any) -> str | None:
    """Type of the numbers, texts or bytes in a column, however deeply they are nested in lists; None for all else."""
    while hasattr(feature, "feature"):
        feature = feature.feature
    dtype = getattr(feature, "dtype", None)
    return dtype if isinstance(dtype, str) and dtype not in ("dict", "list") else None


def _value(value: Any, feature: Any, folder: Path) -> Any:
    if value is None:
        raise DataError("the cell is empty.")
    if isinstance(value, dict):
        value = value["bytes"] or _file(value["path"], folder)
    if isinstance(value, bytes):
        return _stored(value)
    if hasattr(feature, "int2str"):
        return feature.int2str(value)
    if isinstance(value, str):
        return value
    try:
        return np.asarray(value, dtype_of(feature))
    except (TypeError, ValueError) as error:
        raise DataError(f"the cell is no array of {dtype_of(feature)} ({error}).") from error


def _file(name: str | None, folder: Path) -> bytes:
    """Bytes of a file that a cell names instead of holding it; one outside of the folder is refused."""
    if not name:
        raise DataError("the cell is empty.")
    path = Path(os.path.normpath(folder / name))
    if not path.is_relative_to(folder) or not stays_inside(path, folder):
        raise DataError(f"path {name!r} leaves the folder of the data set.")
    try:
        return read_bytes(path)
    except OSError as error:
        raise DataError(f"file {name!r} cannot be read: {error.strerror}.") from error


def _stored(data: bytes) -> Any:
    """The bytes with the extension that their content gives away."""
    for start, extension in STARTS.items():
        if data.startswith(start):
            return Stored(extension, data)
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return Stored("wav", data)
    try:
        return Stored(picture_extension(data, "png"), data)
    except DataError as error:
        raise DataError(f"{len(data)} bytes are no image, wav or npy ({error}).") from error
