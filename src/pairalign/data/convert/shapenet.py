"""ShapeNet-55 in ULIP's form (arXiv:2212.05171, data of arXiv:1512.03012): points, rendered views, category names.

    taxonomy.json                [{"synsetId": "02691156", "name": "airplane,aeroplane,plane"}, …]
    {train,test}.txt             lines "<synset>-<model>.npy"
    shapenet_pc/<synset>-<model>.npy                                     (N, 3)
    rendered_images/<synset>-<model>/<synset>-<model>_r_<ddd>.png        optional; <ddd>_depth0001.png is left alone

Note:
    With views, every view is a sample of its own, all of one model in one group, so that points and caption repeat; the
    names of a category are synonyms, of which the first is the caption and all are kept in meta.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from pairalign.core.errors import DataError
from pairalign.core.limits import parse_json, read_bytes
from pairalign.data.arrays import read_npy
from pairalign.data.convert.dataset_format import Listing, Skip, first_match, register_format
from pairalign.data.convert.mesh import centred
from pairalign.data.made import Made

TAXONOMY = "taxonomy.json|*/taxonomy.json"
VIEW = re.compile(r"_r_\d+\.png$")  # beside it may lie …_depth0001.png


@register_format(
    "shapenet",
    title="ShapeNet-55 as ULIP lays it out: points, rendered views, names",
    source="https://github.com/salesforce/ULIP (arXiv:2212.05171), https://shapenet.org (arXiv:1512.03012)",
    licence="not verified: ShapeNet's terms of use, believed to be research and education only; read them",
    marks=(TAXONOMY, "train.txt|*/train.txt", "shapenet_pc|*/shapenet_pc"),
    facts={"points": {"unit": "1", "axes": ("point", "xyz"), "up": "+y"}, "image": {"unit": "1"}},
)
def read(folder: Path, skip: Skip, *, views: int = 0, normalise: bool = True) -> Listing:
    """Models that a list names. views: rendered images a model, evenly spread over those there are; 0 for none.
    normalise: centre points in the unit ball.
    """
    if views < 0:
        raise DataError(f"option views={views}: give 0 for none, or how many rendered images of a model to take.")
    taxonomy = first_match(folder, TAXONOMY)
    assert taxonomy is not None  # a mark
    home, names, seen = taxonomy.parent, _names(taxonomy), set[str]()
    for split in ("train", "test"):
        path = home / f"{split}.txt"
        if not path.is_file():
            skip(split, f"missing list: {split}.txt")
            continue
        for line in path.read_text(encoding="utf-8").split():
            model = line.removesuffix(".npy")
            synset = model.partition("-")[0]
            points = home / "shapenet_pc" / f"{model}.npy"
            if model in seen:
                skip(model, f"named twice: {split}.txt repeats it, or the other list has it too")
            elif synset not in names:
                skip(model, f"unknown synset: {synset!r} is not in taxonomy.json")
            elif not points.is_file():
                skip(model, f"missing points file: {points.name}")
            else:
                sample = _sample(model, Made(points_of_array, (points, normalise)), names[synset], split)
                yield from _views(home, sample, views, skip)
            seen.add(model)


def _sample(model: str, points: Made, names: list[str], split: str) -> dict[str, Any]:
    return {
        "key": model, "points": points, "text": names[0], "label": names[0], "group": model, "split": split,
        "meta": {"names": names},
    }  # fmt: skip


def _views(home: Path, sample: dict[str, Any], views: int, skip: Skip) -> Listing:
    """The sample itself, or one for each of its chosen views."""
    if not views:
        yield sample
        return
    model = sample["key"]
    found = (home / "rendered_images" / model).glob(f"{model}_r_*.png")
    images = sorted(path for path in found if VIEW.search(path.name))
    if not images:
        skip(model, "missing images: no rendered view")
    chosen = [images[i * len(images) // views] for i in range(views)] if len(images) >= views else images
    for image in chosen:
        yield sample | {"key": f"{model}/{image.stem.rpartition('_')[2]}", "image": image}


def _names(path: Path) -> dict[str, list[str]]:
    try:
        entries = parse_json(path.read_bytes(), path.name, "table")
        found = {e["synsetId"]: [name.strip() for name in e["name"].split(",") if name.strip()] for e in entries}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"taxonomy.json is damaged ({error}): give a list of objects with synsetId and name."
        ) from error
    return {synset: names for synset, names in found.items() if names}


def points_of_array(path: Path, normalise: bool = True) -> np.ndarray:
    """The points (N, 3) of an .npy file, as `centred` gives them; a pickled array is refused."""
    try:
        return centred(read_npy(read_bytes(path))[:, :3], normalise)
    except (ValueError, IndexError, EOFError, OSError) as error:
        raise DataError(f"{path.name}: the points are damaged ({error}).") from error
