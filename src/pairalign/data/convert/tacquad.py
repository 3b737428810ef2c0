"""TacQuad (AnyTouch, arXiv:2502.12191): the same contacts felt by GelSight, DIGIT and DuraGel, with camera and text.

    contact_{indoor,outdoor}.csv         no header: item, start and end frame of gelsight, digit, duragel, …, text last
    data_{indoor,outdoor}/<item>/{gelsight,digit,duragel}/<t>.png
    data_{indoor,outdoor}/<item>/img_<sensor>/<k>.png

Where it bites: camera and sensor run at different rates, so the picture of touch frame t is number
int(t / touch frames · pictures). One touch frame of one sensor is one sample, whose sensor stands in meta. No official
split is published, so every sample is "train" there; use the division "by_object".
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pairalign.data.convert.layout import Listing, Skip, first_match, register_layout
from pairalign.errors import DataError, did_you_mean

SENSORS = ("gelsight", "digit", "duragel")
TABLES = "contact_indoor.csv|tacquad/contact_indoor.csv|contact_outdoor.csv|tacquad/contact_outdoor.csv"


@register_layout(
    "tacquad",
    title="TacQuad: the same contacts by GelSight, DIGIT and DuraGel, with camera and text",
    source="https://github.com/GeWu-Lab/AnyTouch (arXiv:2502.12191)",
    licence="as stated with the data set's card",
    marks=(TABLES, "data_*/*/gelsight|tacquad/data_*/*/gelsight|data_*/*/digit|tacquad/data_*/*/digit"),
    facts={"touch": {"unit": "1"}, "image": {"unit": "1"}},
)
def read(folder: Path, skip: Skip, *, sensor: str = "all", every: int = 1) -> Listing:
    """Frames in contact. sensor: "all" or one of the three. every: keep one frame in so many."""
    if sensor not in ("all", *SENSORS):
        raise DataError(f"option sensor={sensor!r} of 'tacquad'.{did_you_mean(sensor, ('all', *SENSORS))}")
    if every < 1:
        raise DataError(f"option every={every} of 'tacquad': give at least 1.")
    table = first_match(folder, TABLES)
    assert table is not None  # a mark
    for place in ("indoor", "outdoor"):
        for row in _rows(table.parent / f"contact_{place}.csv"):
            item, text = row[0].strip(), row[-1].strip()
            home = table.parent / f"data_{place}" / item
            if not home.is_dir():
                skip(f"{place}/{item}", f"missing item: data_{place}/{item} does not exist")
                continue
            if not text:
                skip(f"{place}/{item}", "empty caption: the table has none")
                continue
            for number, name in enumerate(SENSORS):
                if sensor in ("all", name):
                    span = _span(row, 1 + 2 * number, f"contact_{place}.csv, item {item}")
                    yield from _frames(home, f"{place}/{item}", name, span, text, every, skip)


def _frames(home: Path, item: str, sensor: str, span: tuple[int, int], text: str, every: int, skip: Skip) -> Listing:
    touches, pictures = _numbered(home / sensor), _numbered(home / f"img_{sensor}")
    if not touches or not pictures:
        skip(f"{item}/{sensor}", f"missing frames: {sensor if not touches else f'img_{sensor}'} is empty")
        return
    for t in range(span[0], span[1] + 1, every):
        k = int(t / len(touches) * len(pictures))
        if t not in touches or k not in pictures:
            side, number = ("touch", t) if t not in touches else ("image", k)
            skip(f"{item}/{sensor}/{t}", f"missing {side} file: {number}.png")
            continue
        meta: dict[str, Any] = {"sensor": sensor, "frame": t}
        yield {
            "key": f"{item}/{sensor}/{t}", "touch": touches[t], "image": pictures[k], "text": text, "label": item,
            "group": item, "session": f"{item}/{sensor}", "split": "train", "meta": meta,
        }  # fmt: skip


def _numbered(folder: Path) -> dict[int, Path]:
    """Files by the whole number that is their name."""
    return {int(path.stem): path for path in sorted(folder.glob("*.png")) if path.stem.isdigit()}


def _rows(path: Path) -> Iterator[list[str]]:
    if path.is_file():
        with path.open(encoding="utf-8-sig", newline="") as stream:
            yield from (row for row in csv.reader(stream) if any(cell.strip() for cell in row))


def _span(row: list[str], place: int, where: str) -> tuple[int, int]:
    try:
        start, end = int(float(row[place])), int(float(row[place + 1]))
    except (ValueError, IndexError) as error:
        raise DataError(f"{where}: columns {place} and {place + 1} are no frame numbers: {row!r}.") from error
    if start > end:
        raise DataError(f"{where}: contact ends at {end} before it starts at {start}.")
    return start, end
