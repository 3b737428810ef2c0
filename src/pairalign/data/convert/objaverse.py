"""Objaverse (arXiv:2212.08051) as three projects store it: points with colour, and captions.

    OpenShape (arXiv:2305.10764)   a split JSON [{"id", "group", "dataset", "data_path"}, …] beside pickled dicts
                                   {xyz, rgb 0 to 1, text, blip_caption, msft_caption, retrieval_text, …} in .npy
    PointLLM (arXiv:2308.16911)    8192_npy/<uid>_8192.npy, (8192, 6), and a caption table
    Cap3D (arXiv:2306.07279)       <uid>.pt, (6, 16384), and a caption table

A caption table is Cap3D's CSV without a header: uid, caption.
Where it bites: OpenShape's files are pickles, and are read only with `trust_pickles=true`; its clouds have y and z
exchanged against the meshes, so the up axis is recorded by form. Labels are LVIS categories where a file tells.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pairalign.data.convert.layout import Listing, Skip, first_match, register_layout
from pairalign.data.convert.mesh import centred
from pairalign.data.convert.pickles import load_pickled_npy, load_tensor
from pairalign.data.made import Made
from pairalign.errors import DataError, did_you_mean

SPLITS = "train_all.json|*/train_all.json|lvis.json|*/lvis.json|split/*.json|meta_data/split/*.json"
POINTLLM = "8192_npy/*_8192.npy|*/8192_npy/*_8192.npy"
CAP3D = "*.pt|*/*.pt"
TABLES = "*aption*.csv|*/*aption*.csv|Cap3D*.csv|*/Cap3D*.csv"
TEXTS = ("text", "blip_caption", "msft_caption", "retrieval_text")


@register_layout(
    "objaverse",
    title="Objaverse: points with colour and captions, as OpenShape, PointLLM or Cap3D store them",
    source="https://objaverse.allenai.org (arXiv:2212.08051), captions arXiv:2306.07279",
    licence="ODC-By 1.0 as a whole; each object has its own Creative Commons licence",
    marks=(f"{SPLITS}|{POINTLLM}|{CAP3D}",),
    facts={"points": {"unit": "1", "axes": ("point", "xyz")}},
)
def read(
    folder: Path,
    skip: Skip,
    *,
    captions: str = "auto",
    caption_source: str = "text",
    colour: bool = False,
    trust_pickles: bool = False,
) -> Listing:
    """Objects with a caption. captions: path of a table, or "auto" for one in the folder. caption_source: of OpenShape's
    texts. colour: keep red, green, blue (0 to 1) beside the places. trust_pickles: read OpenShape's files.
    """
    if caption_source not in TEXTS:
        raise DataError(
            f"option caption_source={caption_source!r} of 'objaverse'.{did_you_mean(caption_source, TEXTS)}"
        )
    columns = 6 if colour else 3
    listed = first_match(folder, SPLITS)
    if listed is not None:
        yield from _openshape(folder, listed, skip, caption_source, columns, trust_pickles)
        return
    table = first_match(folder, TABLES) if captions == "auto" else Path(captions)
    if table is None or not table.is_file():
        raise DataError(
            f"option captions={captions!r} of 'objaverse': no such table: give the path of a CSV of uid, caption."
        )
    texts = _captions(table, skip)
    dense = first_match(folder, POINTLLM)
    tensor = first_match(folder, CAP3D)
    home = (dense or tensor).parent  # type: ignore[union-attr]  # a mark
    files = {p.stem.removesuffix("_8192"): p for p in sorted(home.glob("*_8192.npy" if dense else "*.pt"))}
    for uid, path in files.items():
        if uid not in texts:
            skip(uid, "no caption: the table does not name this object")
            continue
        make = points_of_npy if dense else points_of_tensor
        yield _sample(uid, Made(make, (path, columns)), texts[uid], "train", uid, "+z")
    for uid in texts:
        if uid not in files:
            skip(uid, "missing points file: the table names an object that is not there")


def _openshape(folder: Path, listed: Path, skip: Skip, source: str, columns: int, trusted: bool) -> Listing:
    seen: set[str] = set()
    for path in sorted(listed.parent.glob("*.json")):
        split = "test" if "lvis" in path.stem or "test" in path.stem else "val" if "val" in path.stem else "train"
        for entry in _entries(path):
            uid = str(entry["id"])
            if uid in seen:
                skip(uid, "named twice: more than one list holds this object")
                continue
            seen.add(uid)
            places = (folder / entry["data_path"], listed.parent / entry["data_path"])
            file = next((place for place in places if place.is_file()), None)
            if file is None:
                skip(uid, f"missing points file: {entry['data_path']}")
                continue
            if not trusted:
                load_pickled_npy(file, trusted)  # says what to do, before anything long
            group = str(entry.get("group") or "")
            label = str(entry["category"]) if entry.get("category") else None
            sample = _sample(
                uid, Made(points_of_dict, (file, columns)), Made(text_of_dict, (file, source)), split, uid, "+y"
            )
            yield sample | ({"label": label} if label else {}) | {"meta": {**sample["meta"], "part": group}}


def _sample(uid: str, points: Made, text: Any, split: str, group: str, up: str) -> dict[str, Any]:
    return {"key": uid, "points": points, "text": text, "split": split, "group": group, "meta": {"up": up}}


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path.name} is no valid JSON ({error}).") from error
    for number, entry in enumerate(entries if isinstance(entries, list) else []):
        if not isinstance(entry, dict) or "id" not in entry or "data_path" not in entry:
            raise DataError(f"{path.name} entry {number}: give id, group, dataset and data_path.")
        yield entry


def _captions(path: Path, skip: Skip) -> dict[str, str]:
    """Caption by uid, the first where there are several."""
    found: dict[str, str] = {}
    with path.open(encoding="utf-8-sig", newline="") as stream:
        for row in csv.reader(stream):
            if len(row) < 2:
                raise DataError(f"{path.name}: row {row!r} is not 'uid,caption'.")
            if row[0] in found:
                skip(row[0], "named twice: the table has more than one caption for this object")
            found.setdefault(row[0], row[1].strip())
    return found


def points_of_npy(path: Path, columns: int) -> np.ndarray:
    """PointLLM's points (N, columns), centred in the unit ball; a pickle is refused."""
    return _columns(np.asarray(load_pickled_npy(path, trusted=False)), columns, path)


def points_of_tensor(path: Path, columns: int) -> np.ndarray:
    """Cap3D's points, stored (6, N), as (N, columns), centred in the unit ball."""
    return _columns(load_tensor(path).T, columns, path)


def points_of_dict(path: Path, columns: int) -> np.ndarray:
    """OpenShape's points (N, columns), centred in the unit ball, of a file that the user trusts."""
    value = _dict(path)
    parts = [np.asarray(value[name]) for name in ("xyz", "rgb")[: columns // 3] if name in value]
    if len(parts) < columns // 3:
        raise DataError(f"{path.name}: holds {', '.join(value)}, but no {'xyz' if not parts else 'rgb'}.")
    return _columns(np.concatenate(parts, 1), columns, path)


def text_of_dict(path: Path, source: str) -> str:
    """One of OpenShape's captions: the first, where it is a list."""
    value = _dict(path).get(source)
    while isinstance(value, (list, tuple, np.ndarray)) and len(value):
        value = value[0]
    if isinstance(value, dict):
        value = value.get("caption") or value.get("text")
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{path.name}: has no {source}.")
    return value.strip()


def _dict(path: Path) -> dict[str, Any]:
    value = load_pickled_npy(path, trusted=True)
    if not isinstance(value, dict):
        raise DataError(f"{path.name}: holds a {type(value).__name__}, where a dict of xyz and captions is needed.")
    return value


def _columns(points: np.ndarray, columns: int, path: Path) -> np.ndarray:
    if points.ndim != 2 or points.shape[1] < columns:
        raise DataError(f"{path.name}: has shape {points.shape}, of which {columns} columns are needed.")
    return centred(points[:, :columns])
