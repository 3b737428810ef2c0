"""ModelNet40 (Wu et al. 2015, arXiv:1406.5670): CAD models of 40 classes, in either of its two published forms.

    modelnet40_normal_resampled/                        10,000 points with normals a model (Qi et al. 2017)
        modelnet40_{shape_names,train,test}.txt   <class>/<class>_0001.txt      lines "x,y,z,nx,ny,nz"
    ModelNet40/<class>/{train,test}/<class>_0001.off    the meshes

Note:
    The two forms disagree on which way is up (+y resampled, +z meshes), which the shards record; classes such as
    night_stand hold an underscore. A mesh becomes points that are drawn by area, anew but the same every time.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np

from pairalign.core.errors import DataError
from pairalign.core.limits import read_words
from pairalign.data.convert.dataset_format import Listing, Skip, first_match, register_format
from pairalign.data.convert.mesh import centred, points_of_off
from pairalign.data.made import Made

NAMES = "modelnet40_shape_names.txt|*/modelnet40_shape_names.txt"
MESHES = "*/train/*.off|*/*/train/*.off"
NUMBERED = re.compile(r"(.+)_\d+")


@register_format(
    "modelnet40",
    title="ModelNet40: CAD models of 40 classes, as points with normals or as OFF meshes",
    source="https://modelnet.cs.princeton.edu (arXiv:1406.5670)",
    licence="not verified: believed to be for academic use, copyright with the models' authors; read the terms",
    marks=(f"{NAMES}|{MESHES}",),
    facts={"points": {"unit": "1", "axes": ("point", "xyz")}},
)
def read(folder: Path, skip: Skip, *, points: int = 2048, normals: bool = False, normalise: bool = True) -> Listing:
    """Models with their class as caption. points: drawn from a mesh, or kept of the stored ones, the first. normals:
    keep them beside the places, where the form has them. normalise: centre in the unit ball; meshes come in any size.
    """
    if points < 1:
        raise DataError(f"option points={points}: give at least 1.")
    names = first_match(folder, NAMES)
    if names is not None:
        yield from _resampled(names.parent, skip, points, 6 if normals else 3, normalise)
        return
    if normals:
        raise DataError("option normals=True: the OFF form has no normals; the resampled form does.")
    mesh = first_match(folder, MESHES)
    assert mesh is not None  # a mark
    for path in sorted(mesh.parents[2].glob("*/*/*.off")):
        split = path.parent.name
        if split in ("train", "test"):
            made = Made(points_of_off, (path, points, normalise))
            yield _sample(path.stem, path.parents[1].name, split, "+z") | {"points": made}


def _resampled(home: Path, skip: Skip, points: int, columns: int, normalise: bool) -> Listing:
    classes = set(_lines(home / "modelnet40_shape_names.txt"))
    seen: set[str] = set()
    for split in ("train", "test"):
        for model in _lines(home / f"modelnet40_{split}.txt"):
            if model in seen:
                skip(model, f"named twice: modelnet40_{split}.txt repeats it, or the other list has it too")
                continue
            seen.add(model)
            found = NUMBERED.fullmatch(model)
            if found is None or found[1] not in classes:
                skip(model, f"unknown class: {model!r} begins with none of modelnet40_shape_names.txt")
                continue
            path = home / found[1] / f"{model}.txt"
            if not path.is_file():
                skip(model, f"missing points file: {path.relative_to(home)}")
                continue
            made = Made(points_of_text, (path, points, columns, normalise))
            sample = _sample(model, found[1], split, "+y")
            sample["meta"] |= {"columns": "xyznormal"} if columns == 6 else {}
            yield sample | {"points": made}


def _sample(model: str, name: str, split: str, up: str) -> dict[str, Any]:
    """Everything of a model but its points."""
    spoken = name.replace("_", " ")
    return {"key": model, "text": spoken, "label": spoken, "group": model, "split": split, "meta": {"up": up}}


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise DataError(f"{path.name} is missing: copy it from the published archive.")
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def points_of_text(path: Path, points: int, columns: int, normalise: bool = True) -> np.ndarray:
    """The first `points` rows of a comma-separated file, (points, columns), as `centred` gives them."""
    try:
        words = read_words(path, "mesh")
        rows = np.loadtxt(io.StringIO(words), np.float32, delimiter=",", max_rows=points, ndmin=2)
    except ValueError as error:
        raise DataError(f"{path.name}: the points are damaged ({error}).") from error
    if rows.shape[1] < columns:
        raise DataError(f"{path.name}: has {rows.shape[1]} columns, of which {columns} are needed.")
    return centred(rows[:, :columns], normalise)
