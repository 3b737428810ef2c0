"""Objaverse (arXiv:2212.08051) as three projects store it: points with colour, and captions.

    OpenShape (arXiv:2305.10764)   split JSONs [{"id" or "uid", "group", "dataset", "data_path", "category"}, …] and
                                   pickled dicts {xyz, rgb 0 to 1, text, blip_caption, msft_caption, …} in .npy
    PointLLM (arXiv:2308.16911)    8192_npy/<uid>_8192.npy, (8192, 6), rgb 0 to 1, and a caption table
    Cap3D (arXiv:2306.07279)       <uid>.pt, (6, 16384), and a caption table

A caption table is Cap3D's CSV without a header: uid, caption.

Note:
    OpenShape's files are pickles, and are read only with `trust_pickles=true`. They lie with +y up, and its loader then
    exchanges y and z, which mirrors every shape; here they stay as stored, and the index records the axis: +y for
    OpenShape, +z (Blender's) for the others. Its lists overlap: what lvis.json names is test, and train_all.json gives
    the rest. With colours the index records the columns as xyzrgb, so that no encoder takes them for normals.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pairalign.core.errors import DataError, did_you_mean
from pairalign.core.limits import limit, parse_json
from pairalign.data.convert.dataset_format import Listing, Skip, first_match, register_format
from pairalign.data.convert.mesh import centred
from pairalign.data.convert.pickles import load_pickled_npy, load_tensor
from pairalign.data.lines import long_cells
from pairalign.data.made import Made

CORRUPT = frozenset({"6760e543e1d645d5aaacd3803bcae524", "b91c0711149d460a8004f9c06d3b7f38"})  # PointLLM's bad colours
SPLITS = "train_all.json|*/train_all.json|lvis.json|*/lvis.json|split/*.json|meta_data/split/*.json"
POINTLLM = "8192_npy/*_8192.npy|*/8192_npy/*_8192.npy|*_8192.npy"
CAP3D = "*.pt|*/*.pt"
TABLES = "*aption*.csv|*/*aption*.csv|Cap3D*.csv|*/Cap3D*.csv"
TEXTS = ("text", "blip_caption", "msft_caption", "retrieval_text")


@register_format(
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
    normalise: bool = True,
    trust_pickles: bool = False,
) -> Listing:
    """Objects with a caption. captions: path of a table, or "auto" for one in the folder. caption_source: which of
    OpenShape's texts. colour: keep red, green, blue (0 to 1) beside the places. normalise: centre places in the unit
    ball. trust_pickles: read OpenShape's files.
    """
    if caption_source not in TEXTS:
        raise DataError(
            f"option caption_source={caption_source!r} of 'objaverse'.{did_you_mean(caption_source, TEXTS)}"
        )
    form = (6 if colour else 3, normalise)
    listed = first_match(folder, SPLITS)
    if listed is not None:
        yield from _openshape(folder, listed, skip, caption_source, form, trust_pickles)
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
        if dense and colour and uid in CORRUPT:
            skip(uid, "corrupt colour: PointLLM's own loader leaves this object out")
            continue
        make = points_of_npy if dense else points_of_tensor
        yield _sample(uid, Made(make, (path, *form)), texts[uid], "train", "+z", colour)
    for uid in texts:
        if uid not in files:
            skip(uid, "missing points file: the table names an object that is not there")


def _openshape(folder: Path, listed: Path, skip: Skip, source: str, form: tuple[int, bool], trusted: bool) -> Listing:
    seen: set[str] = set()
    for path in sorted(listed.parent.glob("*.json"), key=lambda path: (_split_of(path) == "train", path.name)):
        here: set[str] = set()
        for entry in _entries(path):
            uid, split = str(entry.get("id") or entry["uid"]), _split_of(path)
            if uid in here:
                skip(uid, f"named twice: {path.name} repeats it")
            if uid in seen:  # the lists overlap as published, and the first one decides
                continue
            here.add(uid)
            seen.add(uid)
            file = _inside(folder, listed.parent, str(entry["data_path"]))
            if file is None:
                skip(uid, f"missing points file: {entry['data_path']}")
                continue
            if not trusted:
                load_pickled_npy(file, trusted)  # says what to do, before anything long
            points, text = Made(points_of_dict, (file, *form)), Made(text_of_dict, (file, source))
            sample = _sample(uid, points, text, split, "+y", form[0] == 6)
            sample["meta"] |= {name: entry[name] for name in ("dataset", "group") if entry.get(name)}
            yield sample | ({"label": str(entry["category"])} if entry.get("category") else {})


def _split_of(path: Path) -> str:
    """Of a list by its name; "train_no_lvis" is one of training."""
    name = path.stem
    if name.startswith("train"):
        return "train"
    return "test" if "lvis" in name or "test" in name else "val" if "val" in name else "train"


def _inside(folder: Path, beside: Path, name: str) -> Path | None:
    """The file that a list names, in the data set's folder or beside the list; none that lies elsewhere."""
    home = folder.resolve()
    for place in (folder / name, beside / name):
        if place.is_file() and place.resolve().is_relative_to(home):
            return place
    return None


def _sample(uid: str, points: Made, text: Any, split: str, up: str, colour: bool) -> dict[str, Any]:
    meta = {"up": up} | ({"columns": "xyzrgb"} if colour else {})
    return {"key": uid, "points": points, "text": text, "split": split, "group": uid, "meta": meta}


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    try:
        entries = parse_json(path.read_bytes(), path.name, "table")
    except ValueError as error:
        raise DataError(f"{path.name} is no valid JSON ({error}).") from error
    for number, entry in enumerate(entries if isinstance(entries, list) else [None]):
        if not isinstance(entry, dict) or not {"id", "uid"} & entry.keys() or "data_path" not in entry:
            raise DataError(f"{path.name} entry {number}: give a list of objects with id (or uid) and data_path.")
        yield entry


def _captions(path: Path, skip: Skip) -> dict[str, str]:
    """Caption by uid, the first where there are several; a row of another form than 'uid,caption' is left out."""
    found: dict[str, str] = {}
    with long_cells(), path.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.reader(stream)
        try:
            for row in rows:
                key = row[0].strip() if row else ""
                if len(row) > 2 or (row and not key):
                    skip(key or path.name, f"damaged row: line {rows.line_num} of the table is not 'uid,\"caption\"'")
                elif key in found:
                    skip(key, "named twice: the table has more than one caption for this object")
                elif len(row) == 2 and row[1].strip():
                    found[key] = row[1].strip()
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{path.name} line {rows.line_num}: the table is damaged ({error}).") from error
    return found


def points_of_npy(path: Path, columns: int, normalise: bool = True) -> np.ndarray:
    """PointLLM's points (N, columns), as `centred` gives them; a pickle is refused."""
    value = load_pickled_npy(path, trusted=False)
    return _columns(np.asarray(value), columns, path, normalise)


def points_of_tensor(path: Path, columns: int, normalise: bool = True) -> np.ndarray:
    """Cap3D's points, stored (6, N), as (N, columns), as `centred` gives them."""
    stored = load_tensor(path)
    if stored.ndim != 2 or stored.shape[0] != 6:
        raise DataError(f"{path.name}: has shape {stored.shape}, where (6, N) is needed.")
    return _columns(stored.T, columns, path, normalise)


def points_of_dict(path: Path, columns: int, normalise: bool = True) -> np.ndarray:
    """OpenShape's points (N, columns), as `centred` gives them, of a file that the user trusts."""
    value = _dict(path)
    parts = [np.asarray(value[name]) for name in ("xyz", "rgb")[: columns // 3] if name in value]
    if len(parts) < columns // 3:
        lacks = "xyz" if "xyz" not in value else "rgb"
        raise DataError(f"{path.name}: holds {', '.join(map(str, value))}, but no {lacks}.")
    if any(part.ndim != 2 or part.shape != (len(parts[0]), 3) for part in parts):
        raise DataError(f"{path.name}: holds arrays of {[part.shape for part in parts]}, where (N, 3) is needed.")
    return _columns(np.concatenate(parts, 1), columns, path, normalise)


def text_of_dict(path: Path, source: str) -> str:
    """One of OpenShape's captions: the first, where it is a list."""
    value = _dict(path).get(source)
    for _ in range(limit("nesting")):  # a pickled list may hold itself
        if isinstance(value, (list, tuple, np.ndarray)) and len(value):
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


def _columns(points: np.ndarray, columns: int, path: Path, normalise: bool) -> np.ndarray:
    if points.ndim != 2 or points.shape[1] < columns:
        raise DataError(f"{path.name}: has shape {points.shape}, of which {columns} columns are needed.")
    found = centred(points[:, :columns], normalise)
    if columns == 6 and (found[:, 3:].min() < 0 or found[:, 3:].max() > 1):
        low, high = found[:, 3:].min(), found[:, 3:].max()
        raise DataError(f"{path.name}: colours go from {low:g} to {high:g}, where 0 to 1 is needed.")
    return found
