"""Photographs in one folder a class, Caltech-101's, split the same way every time.

Note:
    What a picture is called is its folder's name, for some folders another word. Without a name in `NAMED` a folder is
    called as it is spelt.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

NAMED = {
    "airplanes": "airplane", "bonsai": "bonsai tree", "car_side": "car", "cellphone": "cell phone", "Faces": "face",
    "grand_piano": "piano", "Leopards": "leopard", "Motorbikes": "motorbike", "sea_horse": "seahorse",
}  # fmt: skip
NAME, DESCRIBE = "What is in the picture?", "Describe the picture."
TEST, SEED = 6, 0  # pictures of each class that are never trained on


class Picture(NamedTuple):
    """path: relative to the folder of pictures."""

    path: str
    name: str
    split: str


def named(folder: str) -> str:
    """What a folder's pictures are called."""
    return NAMED.get(folder, folder.replace("_", " "))


def caption(name: str) -> str:
    """A sentence of its own, so that the model hears of pictures in more than single words."""
    return f"a photo of {'an' if name[0] in 'aeiou' else 'a'} {name}."


def find_pictures(root: Path) -> list[Picture]:
    """Of every class `TEST` pictures of the split "test" and 24 at most of "train", drawn with one seed."""
    found = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        files = sorted(file.name for file in folder.iterdir() if file.suffix.lower() in {".jpg", ".jpeg", ".png"})
        random.Random(f"{SEED} {folder.name}").shuffle(files)
        for n, name in enumerate(files[: TEST + 24]):
            split = "test" if n < TEST else "train"
            found.append(Picture(f"{folder.name}/{name}", named(folder.name), split))
    if not found:
        raise SystemExit(f"--pictures={root}: no folder in it has pictures: give one folder a class.")
    return found


def of_split(pictures: Sequence[Picture], split: str) -> list[Picture]:
    """Those of one split, in order."""
    return [picture for picture in pictures if picture.split == split]
