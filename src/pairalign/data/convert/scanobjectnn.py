"""ScanObjectNN (Uy et al. 2019, arXiv:1908.04616): scanned objects of 15 classes, in HDF5.

    main_split/{training,test}_objectdataset_augmentedrot_scale75.h5      data (N, 2048, 3), label (N,)
    main_split_nobg/…                                                     the same without background points

Note:
    The PB variants hold several perturbed copies of an object, up to five, and the files do not say which belong
    together, so there are no splits by object: take no validation part out of training. The official split shares no
    object, but it is no split by scene: of its 267 test scenes 230 have other objects in training, as its list says.
    Reading needs h5py: `pip install 'pairalign[h5]'`.
"""

from __future__ import annotations

import math
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from pairalign.core.errors import DataError, did_you_mean
from pairalign.core.limits import check, open_plain
from pairalign.data.convert.dataset_format import Listing, Skip, first_match, register_format
from pairalign.data.convert.extra import need
from pairalign.data.convert.mesh import centred
from pairalign.data.made import Made

CLASSES = (
    "bag", "bin", "box", "cabinet", "chair", "desk", "display", "door", "shelf", "table", "bed", "pillow", "sink",
    "sofa", "toilet",
)  # fmt: skip
VARIANTS = {"PB_T50_RS": "_augmentedrot_scale75", "PB_T50_R": "_augmentedrot", "PB_T25": "_augmented25_norot",
            "PB_T25_R": "_augmented25rot", "OBJ": ""}  # fmt: skip
FILES = "main_split*/*objectdataset*.h5|*/main_split*/*objectdataset*.h5|*objectdataset*.h5"


@register_format(
    "scanobjectnn",
    title="ScanObjectNN: scanned objects of 15 classes, as points",
    source="https://hkust-vgd.github.io/scanobjectnn (arXiv:1908.04616)",
    licence="research use by agreement with its authors: ask for it there",
    marks=(FILES,),
    facts={"points": {"unit": "1", "axes": ("point", "xyz"), "up": "+y"}},
    split_set=None,
)
def read(
    folder: Path, skip: Skip, *, variant: str = "PB_T50_RS", background: bool = True, normalise: bool = True
) -> Listing:
    """Objects with their class as caption. variant: "PB_T50_RS" (the hardest), …, "OBJ". background: with the points
    around the object. normalise: centre points in the unit ball.
    """
    if variant not in VARIANTS:
        raise DataError(f"option variant={variant!r} of 'scanobjectnn'.{did_you_mean(variant, VARIANTS)}")
    _h5py()
    home = _home(folder, background)
    for split, name in (("train", "training"), ("test", "test")):
        path = home / f"{name}_objectdataset{VARIANTS[variant]}.h5"
        if not path.is_file():
            skip(split, f"missing points file: {path.name}")
            continue
        labels = _labels(path)
        for row, label in enumerate(labels.tolist()):
            if not 0 <= label < len(CLASSES):
                skip(f"{split}/{row:05d}", f"label {label}: there are {len(CLASSES)} classes")
                continue
            yield {
                "key": f"{split}/{row:05d}", "points": Made(points_of_row, (path, row, normalise)),
                "text": CLASSES[label], "label": CLASSES[label], "split": split,
                "meta": {"variant": variant, "background": background},
            }  # fmt: skip


def _home(folder: Path, background: bool) -> Path:
    """The folder of the files; raise `DataError` where only the other kind is there."""
    first = first_match(folder, FILES)
    assert first is not None  # a mark
    wanted = "main_split" if background else "main_split_nobg"
    found = first.parent.resolve().name
    if found == wanted or not found.startswith("main_split"):
        return first.parent
    home = first.parent.parent / wanted
    if not home.is_dir():
        raise DataError(f"option background={background} of 'scanobjectnn': {found} is there, but no {wanted}.")
    return home


def _h5py() -> Any:
    return need("h5py", "h5", "'scanobjectnn' needs h5py")


def _labels(path: Path) -> np.ndarray:
    with _open(path) as file:
        if not {"data", "label"} <= set(file) or len(file["data"]) != len(file["label"]):
            raise DataError(
                f"{path.name}: needs data and label of one length; it holds {', '.join(file) or 'nothing'}."
            )
        labels: np.ndarray = np.asarray(file["label"]).astype(np.int64).ravel()
        return labels


def _open(path: Path) -> Any:
    h5py = _h5py()
    try:
        os.close(open_plain(path))
        file = h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"{path.name} is no HDF5 file ({error}): download it again.") from error
    for name in file:
        _check_own(file, name, path, h5py)
    return file


def _check_own(file: Any, name: str, path: Path, h5py: Any) -> None:
    """Raise `DataError` for a part of a file whose values lie in another file, or are more than are read."""
    own = isinstance(file.get(name, getlink=True), h5py.HardLink)
    part = file[name] if own else None
    if not own or (isinstance(part, h5py.Dataset) and (part.external or part.is_virtual)):
        raise DataError(
            f"{path.name}: {name!r} lies in another file, which is not opened: copy its values into this one."
        )
    if isinstance(part, h5py.Dataset):  # of which a row is read at a time, and with it a chunk is unpacked
        row = part.size // max(1, len(part)) if part.ndim > 1 else part.size or 0
        check("values", max(row, math.prod(part.chunks or ())), f"{path.name}: a row of {name!r}")


@lru_cache(1)
def _held(path: Path) -> Any:
    """The file of the last row, kept open by each writing process."""
    return _open(path)


def points_of_row(path: Path, row: int, normalise: bool = True) -> np.ndarray:
    """The points (N, 3) of one row, as `centred` gives them."""
    try:
        points = np.asarray(_held(path)["data"][row])
    except OSError as error:
        raise DataError(f"{path.name} row {row} cannot be read ({error}).") from error
    if points.ndim != 2 or points.shape[1] != 3:
        raise DataError(f"{path.name} row {row}: has shape {points.shape}, where (N, 3) is needed.")
    return centred(points, normalise)
