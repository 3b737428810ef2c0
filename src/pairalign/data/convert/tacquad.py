"""TacQuad (Feng et al. 2025, AnyTouch, arXiv:2502.12191): the same objects under three touch sensors and a camera.

    contact_{indoor,outdoor}.csv                                 without a header: item, first and last frame in contact
                                                                 of gelsight, digit and duragel, …, caption last
    data_{indoor,outdoor}/<item>/{gelsight,digit,duragel}/<t>.png
    data_{indoor,outdoor}/<item>/img_<sensor>/<k>.png            the camera, at a rate of its own

Frame t goes with camera frame k = int(t / touch frames · camera frames), as the authors' loader has it. Numbers of
frames are taken from the largest one on disk, so that a missing file does not shift the others.

Note:
    No split is published, so every sample is "train" there; use the split set "by_object". An item is one object by its
    exact name, so `shuttlecock2` is another one than `shuttlecock`. A frame's number counts within one sensor's
    recording, so equal numbers are no pair of sensors. The fourth sensor, Tac3D, gives no pictures and stays out.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

from pairalign.core.errors import DataError, did_you_mean
from pairalign.data.convert.dataset_format import Listing, Skip, first_match, register_format
from pairalign.data.lines import long_cells

PLACES = ("indoor", "outdoor")
SENSORS = ("gelsight", "digit", "duragel")
RENAMED = {"yumaoqiu": "shuttlecock", "yumaoqiu2": "shuttlecock2"}  # in the table by another name than on disk


class Item(NamedTuple):
    """A line of a table: contact gives the first and last frame by sensor."""

    name: str
    contact: dict[str, tuple[int, int]]
    caption: str


def _either(pattern: str) -> str:
    """Of one place or the other, in the folder itself or one below."""
    return "|".join(home + pattern.format(place) for home in ("", "tacquad/") for place in PLACES)


@register_format(
    "tacquad",
    title="TacQuad: GelSight Mini, DIGIT and DuraGel on the same objects, camera frames and captions",
    source="https://github.com/GeWu-Lab/AnyTouch (arXiv:2502.12191)",
    licence="not verified: believed to be MIT by its data card; read the card of your copy",
    marks=(_either("contact_{}.csv"), _either("data_{}")),
    facts={"touch": {"unit": "1"}, "image": {"unit": "1"}},
)
def read(folder: Path, skip: Skip, *, sensor: str = "all", every: int = 1, captions: bool = True) -> Listing:
    """Touch frames in contact, each with its camera frame and the item's caption.

    sensor: "all", or one of "gelsight", "digit", "duragel". every: of each contact, keep one frame in so many.
    captions: False leaves them out, and needs none.
    """
    if sensor not in ("all", *SENSORS):
        raise DataError(f"option sensor={sensor!r} of 'tacquad' is unknown.{did_you_mean(sensor, ('all', *SENSORS))}")
    if every < 1:
        raise DataError(f"option every={every} of 'tacquad': keep one frame in at least 1.")
    sensors = SENSORS if sensor == "all" else (sensor,)
    tables = {place: first_match(folder, f"contact_{place}.csv|tacquad/contact_{place}.csv") for place in PLACES}
    listed = {place: (path, _items(path)) for place, path in tables.items() if path is not None}
    for place, (path, items) in listed.items():
        taken: set[tuple[str, str, int]] = set()
        for item in items:
            home = _home(path.parent / f"data_{place}", item.name)
            if home is None:
                skip(f"{place}/{item.name}", f"missing folder: data_{place}/{item.name}")
            elif captions and not item.caption:
                skip(f"{place}/{item.name}", "empty caption: convert with captions=false to do without")
            else:
                text = {"text": item.caption} if captions else {}
                for name in sensors:
                    for sample in _contact(home, place, item, name, every, taken, skip):
                        yield sample | text


def _items(path: Path) -> list[Item]:
    """Every line of a table; raise `DataError` for one that does not hold whole numbers."""
    found = []
    with long_cells(), path.open(encoding="utf-8-sig", newline="") as stream:
        for number, line in enumerate(csv.reader(stream), start=1):
            cells = [cell.strip() for cell in line]
            if not any(cells):
                continue
            try:
                name, bounds = cells[0], [int(cell) for cell in cells[1:7]]
                contact = {s: (bounds[2 * i], bounds[2 * i + 1]) for i, s in enumerate(SENSORS)}
            except (ValueError, IndexError):
                raise DataError(
                    f"{path.name} line {number}: {','.join(cells)[:80]!r} is no 'item, first and last frame of "
                    f"{', '.join(SENSORS)}, …, caption' in whole numbers."
                ) from None
            found.append(Item(name, contact, cells[-1] if len(cells) > 7 else ""))
    return found


def _home(data: Path, name: str) -> Path | None:
    """The item's folder: of exactly its name, or of the name the authors gave it later."""
    known = {path.name: path for path in data.iterdir() if path.is_dir()} if data.is_dir() else {}
    return known.get(name) or known.get(RENAMED.get(name, name))


def _contact(
    home: Path, place: str, item: Item, sensor: str, every: int, taken: set[tuple[str, str, int]], skip: Skip
) -> Listing:
    """The frames of one sensor that are in contact. taken: those that an earlier line has named."""
    first, last = item.contact[sensor]
    where = f"{place}/{home.name}/{sensor}"
    if first < 0 or last < first:
        skip(where, f"no contact: frames {first} to {last}")
        return
    touches, images = _frames(home / sensor), _frames(home / f"img_{sensor}")
    if not touches or not images:
        skip(where, f"missing {'touch' if not touches else 'image'} frames: no <number>.png is there")
        return
    for t in range(first, last + 1, every):
        key, k = f"{where}/{t}", int(t / (max(touches) + 1) * (max(images) + 1))
        if (home.name, sensor, t) in taken:
            skip(key, f"named twice: an earlier line of contact_{place}.csv has frame {t}")
        elif t not in touches:
            skip(key, f"missing touch file: {t}.png")
        elif k not in images:
            skip(key, f"missing image file: img_{sensor}/{k}.png")
        else:
            yield {
                "key": key,
                "touch": touches[t],
                "image": images[k],
                "group": home.name,
                "session": where,
                "split": "train",
                "meta": {"sensor": sensor, "place": place},
            }
        taken.add((home.name, sensor, t))


def _frames(folder: Path) -> dict[int, Path]:
    """Files by frame number, of those called by nothing but a number; none where there is no folder."""
    pictures = folder.glob("*.png") if folder.is_dir() else ()
    return {int(path.stem): path for path in pictures if path.stem.isascii() and path.stem.isdecimal()}
