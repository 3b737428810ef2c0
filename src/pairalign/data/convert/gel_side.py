"""Which of two folders holds the gel's pictures, from a few of each: some copies have them the other way round.

Four things tell a gel from a camera by physics: it is evenly lit (little contrast), by lamps of other colours from
other sides (its colour channels do not go together), it hardly changes from frame to frame, and it looks like a picture
of the same gel untouched, where there is one.

Note:
    Two must say "exchanged" clearly and none the opposite, so a doubtful folder is left as it is; and a handful of
    frames is looked at, so single exchanged pairs stay for `pairalign data audit` to find.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pairalign.core.errors import DataError
from pairalign.data.audit.pixels import ALIKE, CONTRAST, SIDE, picture_cues, small_picture
from pairalign.data.formats import extension_of
from pairalign.data.raster import open_picture

FRAMES = 4  # looked at on either side
CLEAR = 0.6  # a side's change or distance is clearly the smaller one below this share of the other's


def look(paths: Sequence[Path]) -> np.ndarray:
    """(n, 64, 64, 3) small pictures in [0, 1] of up to `FRAMES` files, evenly spread; damaged ones are left out."""
    found = [picture for place in spread(len(paths)) if (picture := _picture(paths[place])) is not None]
    return np.stack(found) if found else np.zeros((0, SIDE, SIDE, 3), np.float32)


def spread(count: int) -> list[int]:
    """The places of up to `FRAMES` of `count` files, evenly spread."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(FRAMES, count))})


def exchanged(touch: np.ndarray, image: np.ndarray, background: np.ndarray | None = None) -> bool:
    """Whether the pictures (n, 64, 64, 3) called touch are the camera's and those called image the gel's.

    background: (64, 64, 3) of the gel untouched.
    """
    if not len(touch) or not len(image):
        return False
    votes = [*_by_light(touch, image), _by_change(touch, image)]
    if background is not None:
        votes.append(_smaller(*(float(np.abs(np.median(side, 0) - background).mean()) for side in (touch, image))))
    return votes.count(-1) >= 2 and votes.count(1) == 0


def _by_light(touch: np.ndarray, image: np.ndarray) -> tuple[int, int]:
    """Votes of contrast and of how alike the colour channels are: 1 for "as named", −1 for "exchanged", 0 for neither.

    The bounds are those of the audit.
    """
    gel, photo = (np.median([picture_cues(picture) for picture in side], 0) for side in (touch, image))
    contrast = _smaller(float(gel[CONTRAST]), float(photo[CONTRAST]), 0.8)
    apart = float(photo[ALIKE] - gel[ALIKE])
    return contrast, int(np.sign(apart)) if abs(apart) > 0.15 else 0


def _by_change(touch: np.ndarray, image: np.ndarray) -> int:
    if min(len(touch), len(image)) < 2:
        return 0
    return _smaller(*(float(side.std(0).mean()) for side in (touch, image)))


def _smaller(touch: float, image: float, share: float = CLEAR) -> int:
    """1 where touch has clearly the smaller number, as a gel has, −1 where image has."""
    return int(touch < share * image) - int(image < share * touch)


def _picture(path: Path) -> np.ndarray | None:
    try:
        with path.open("rb") as stream:
            image = open_picture(stream, extension_of(path.name))
            image.draft("RGB", (2 * SIDE, 2 * SIDE))  # a JPEG is then decoded at a fraction of its size
            return small_picture(image)
    except (
        DataError,
        KeyError,
        OSError,
        ValueError,
        SyntaxError,
    ):  # what PIL raises for damaged files, which packing reports
        return None
