"""Touch and Go (Yang et al. 2022, arXiv:2211.12498): GelSight and camera frames of recordings in the wild.

    dataset/<YYYYMMDD_HHMMSS>/{video_frame,gelsight_frame}/<10 digits>.jpg
    {train,test,train_rough,test_rough}.txt      lines "recording/frame.jpg,label", at the top or beside the recordings

A label is one of twenty materials, or in the "rough" lists 1 for rough and 0 for smooth; hard or soft follows from the
material, as the authors' own loader does it. −1 means unlabelled and is left out.

Note:
    The official material split draws frames at random, so that nearly every test recording is in training too;
    "by_recording" keeps recordings whole. The rough lists have a split set of their own, "rough".
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pairalign.core.errors import DataError
from pairalign.data.convert.dataset_format import Listing, Skip, first_match, present, register_format

MATERIALS = (  # by their number in the lists
    "concrete", "plastic", "glass", "wood", "metal", "brick", "tile", "leather", "synthetic fabric", "natural fabric",
    "rubber", "paper", "tree", "grass", "soil", "rock", "gravel", "sand", "plants", "others",
)  # fmt: skip
RECORDINGS = "dataset/*/gelsight_frame|*/gelsight_frame"
SOFT = frozenset({"leather", "synthetic fabric", "natural fabric", "paper", "grass"})


@register_format(
    "touch-and-go",
    title="Touch and Go: GelSight and camera frames, 20 materials",
    source="https://github.com/fredfyyang/Touch-and-Go (arXiv:2211.12498)",
    licence="no licence stated with the data: ask the authors before you redistribute",
    marks=(RECORDINGS, "train.txt|dataset/train.txt", "test.txt|dataset/test.txt"),
    facts={"touch": {"unit": "1", "sensor": "GelSight"}, "image": {"unit": "1"}},
    whole="session",
    split_set="by_recording",
)
def read(folder: Path, skip: Skip, *, text: str = "") -> Listing:
    """Frames that a list names. text: a caption with {material} in it, which leaves out frames without one; "" for
    none.
    """
    gel = first_match(folder, RECORDINGS)
    assert gel is not None  # a mark
    tables = {name: _table(folder, f"{name}.txt", len(MATERIALS)) for name in ("train", "test")}
    rough = {name: _table(folder, f"{name}_rough.txt", 2) for name in ("train", "test")}
    both = tables["train"].keys() & tables["test"].keys()
    if both:
        raise DataError(f"{min(both)}: is in train.txt and in test.txt: take it out of one of them.")
    for frame in dict.fromkeys(frame for part in (*tables.values(), *rough.values()) for frame in part):
        split = next((name for name, table in tables.items() if frame in table), "unlabelled")
        part = next((name for name, table in rough.items() if frame in table), "none")
        code = tables[split][frame] if split in tables else -1
        if part == "none" and code < 0:
            skip(frame, "label −1: unlabelled")
            continue
        if text and code < 0:
            skip(frame, "no material: a caption needs one")
            continue
        label: dict[str, str] = {}
        if code >= 0:
            label = {"material": MATERIALS[code], "hardness": "soft" if MATERIALS[code] in SOFT else "hard"}
        if part != "none":
            label["roughness"] = "rough" if rough[part][frame] else "smooth"
        sample = _files(gel.parent.parent, frame, skip)
        if sample:
            sample |= {"label": label, "split": split if code >= 0 else "unlabelled", "splits": {"rough": part}}
            yield sample | ({"text": text.format(**label)} if text else {})


def _files(recordings: Path, frame: str, skip: Skip) -> dict[str, Any]:
    """Both sides of a frame, or nothing if one is missing."""
    recording, name = frame.split("/")
    sides = {"image": "video_frame", "touch": "gelsight_frame"}
    found = present(
        {side: recordings / recording / part / name for side, part in sides.items()}, recordings, frame, skip
    )
    return {"key": frame.removesuffix(".jpg"), **found, "session": recording} if found else {}


def _table(folder: Path, name: str, classes: int) -> dict[str, int]:
    """Label by "recording/frame.jpg"; empty where there is no such list."""
    path = first_match(folder, f"{name}|dataset/{name}")
    found: dict[str, int] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines() if path else (), start=1):
        frame, _, label = line.strip().rpartition(",")
        if not line.strip():
            continue
        if frame.count("/") != 1 or not label.lstrip("-").isdigit() or not -1 <= int(label) < classes:
            raise DataError(
                f"{name} line {number}: {line!r} is no 'recording/frame.jpg,label' with −1 to {classes - 1}."
            )
        found[frame] = int(label)
    return found
