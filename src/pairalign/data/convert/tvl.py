"""TVL (Fu et al. 2024, arXiv:2402.13232): touch, camera and adjectives, from SSVTP (a robot) and HCT (by hand).

    ssvtp/images_rgb/image_437_rgb.jpg   ssvtp/images_tac/image_437_tac.jpg   ssvtp/text/labels_437.txt
    ssvtp/{train,test}.csv               url, tactile, caption
    hct/data{1,2,3}/{train,test}.csv     url, tactile, tactile_background, caption
    hct/data2/<trajectory>/{vision,tactile}/<frame>.jpg                  the same file name on both sides
    hct/data*/{contact,not_contact}.json                                 parallel lists vision, tactile, background

Where it bites: some published copies have the folders vision and tactile exchanged. The gel's rest image tells: the
side that looks more like it is the touch, and trajectories where that is the other one are reported, or put right with
`swapped=exchange`. TVL's own loader pads touches to a square and turns them by 90 degrees; here bytes stay as they are.
CSV columns are read by their header, and frames are matched by their whole name.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pairalign.data.convert.layout import Listing, Skip, first_match, register_layout
from pairalign.errors import DataError, did_you_mean

SSVTP = "ssvtp/images_tac|images_tac|*/ssvtp/images_tac"
HCT = "hct/data*/*.csv|data*/*.csv|*/hct/data*/*.csv|hct/data*/contact.json|data*/contact.json"
SUBSETS = ("all", "ssvtp", "hct")
SMALL = (16, 16)  # pixels at which a frame is compared with the rest image


@register_layout(
    "tvl",
    title="TVL: touch, vision and language (SSVTP + HCT)",
    source="https://github.com/Max-Fu/tvl (arXiv:2402.13232)",
    licence="as stated with the data set's card; the code is Apache-2.0",
    marks=(f"{SSVTP}|{HCT}",),
    facts={"touch": {"unit": "1", "sensor": "DIGIT"}, "image": {"unit": "1"}},
    whole="session",
    division="by_trajectory",
)
def read(folder: Path, skip: Skip, *, subset: str = "all", swapped: str = "report", contact: bool = True) -> Listing:
    """Frames that the tables name. subset: "all", "ssvtp", "hct". swapped: "report" or "exchange" trajectories whose
    two sides are exchanged. contact: frames in contact alone; false adds those of not_contact.json, as "background".
    """
    if subset not in SUBSETS:
        raise DataError(f"option subset={subset!r} of 'tvl'.{did_you_mean(subset, SUBSETS)}")
    if swapped not in ("report", "exchange"):
        raise DataError(f"option swapped={swapped!r} of 'tvl': use 'report' or 'exchange'.")
    robot, hand = first_match(folder, SSVTP), first_match(folder, HCT)
    if (subset == "ssvtp" and robot is None) or (subset == "hct" and hand is None):
        raise DataError(f"option subset={subset!r} of 'tvl': the folder has no such part.")
    if robot is not None and subset != "hct":
        yield from _checked(_ssvtp(robot.parent), robot.parent, skip)
    if hand is not None and subset != "ssvtp":
        for part in sorted(
            {path.parent for path in hand.parents[1].glob("data*/*") if path.suffix in (".csv", ".json")}
        ):
            frames = _checked(_hct(part, contact), part, skip)
            yield from _straightened(frames, skip, exchange=swapped == "exchange")


def _ssvtp(home: Path) -> Listing:
    for split in ("train", "test"):
        for row in _table(home / f"{split}.csv", ("url", "tactile", "caption")):
            number = re.search(r"image_(\d+)_rgb", row["url"])
            key = f"ssvtp/{number[1] if number else Path(row['url']).stem}"
            caption = row["caption"] or _labels(home / "text" / f"labels_{key.rpartition('/')[2]}.txt")
            yield _sample(home, key, key, split, row["url"], row["tactile"], None, caption)


def _hct(home: Path, contact: bool) -> Listing:
    tables = [(split, home / f"{split}.csv") for split in ("train", "test")]
    if any(path.is_file() for _, path in tables):
        for split, path in tables:
            for row in _table(path, ("url", "tactile", "tactile_background", "caption")):
                sides = (row["url"], row["tactile"], row["tactile_background"])
                yield _frame(home, split, *sides, row["caption"])
    elif (home / "contact.json").is_file():
        yield from _parallel(home, "contact.json", "")
    if not contact and (home / "not_contact.json").is_file():
        yield from _parallel(home, "not_contact.json", "background")


def _parallel(home: Path, name: str, caption: str) -> Listing:
    try:
        lists = json.loads((home / name).read_text(encoding="utf-8"))
        rows = list(zip(lists["vision"], lists["tactile"], lists["background"], strict=True))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{home.name}/{name} is damaged ({error}): it needs equal lists vision, tactile, background."
        ) from error
    for vision, tactile, background in rows:
        yield _frame(home, "train", vision, tactile, background, caption)


def _frame(home: Path, split: str, vision: str, tactile: str, background: str, caption: str) -> dict[str, Any]:
    path = Path(tactile)
    session = f"{home.name}/{path.parts[-3] if len(path.parts) > 2 else path.parent.name}"
    return _sample(home, f"{session}/{path.stem}", session, split, vision, tactile, _rest(home, background), caption)


def _rest(home: Path, background: str) -> Path | None:
    """The rest image of the gel: the named one, or the part's `digit_background.png`."""
    named = home / background
    places = (named, *(up / "digit_background.png" for up in (named.parents[1], home, home.parent)))
    return next((path for path in places if background and path.is_file()), None)


def _sample(
    home: Path, key: str, session: str, split: str, vision: str, tactile: str, rest: Path | None, caption: str
) -> dict[str, Any]:
    words = [word.strip(" .") for word in caption.split(",") if word.strip(" .")]
    touch: Any = home / tactile
    return {
        "key": key, "image": home / vision, "touch": {"value": touch, "background": rest} if rest else touch,
        "text": caption.strip(), "session": session, "split": split, "meta": {"sensor": "DIGIT", "adjectives": words},
    }  # fmt: skip


def _checked(samples: Listing, home: Path, skip: Skip) -> Listing:
    """Leave out what lacks a file or a caption, and keys that came before."""
    seen: set[str] = set()
    for sample in samples:
        for side in ("image", "touch"):
            path = value_of(sample, side)
            if not path.is_file():
                skip(sample["key"], f"missing {side} file: {path.relative_to(home)}")
                break
        else:
            if not sample["text"]:
                skip(sample["key"], "empty caption: the table has none")
            elif sample["key"] in seen:
                skip(sample["key"], "named twice: the tables list this frame more than once")
            else:
                yield sample
            seen.add(sample["key"])


def value_of(sample: dict[str, Any], side: str) -> Path:
    """The main file of a side."""
    value = sample[side]
    path: Path = value["value"] if isinstance(value, dict) else value
    return path


def _straightened(samples: Listing, skip: Skip, *, exchange: bool) -> Listing:
    """Look at the first frame of each trajectory; note, or put right, those whose sides are exchanged."""
    found: dict[str, bool] = {}
    for sample in samples:
        session = sample["session"]
        if session not in found:
            found[session] = _exchanged(sample)
            if found[session]:
                done = "exchanged back" if exchange else "left as they are; option swapped=exchange puts them right"
                skip.suspect(
                    f"{session}: its vision and tactile folders are exchanged, by the gel's rest image: {done}."
                )
        if found[session] and exchange:
            touch = sample["image"]
            rest = sample["touch"]["background"] if isinstance(sample["touch"], dict) else None
            sample |= {
                "image": value_of(sample, "touch"),
                "touch": {"value": touch, "background": rest} if rest else touch,
            }
        yield sample


def _exchanged(sample: dict[str, Any]) -> bool:
    """Whether the image side looks more like the gel at rest than the touch side does."""
    rest = sample["touch"].get("background") if isinstance(sample["touch"], dict) else None
    sides = [rest, value_of(sample, "touch"), sample["image"]]
    small = [_small(path) if path is not None else None for path in sides]
    if any(pixels is None for pixels in small):
        return False
    base, touch, image = small
    return bool(np.abs(image - base).mean() < np.abs(touch - base).mean())


def _small(path: Path) -> np.ndarray | None:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB").resize(SMALL), np.float32)
    except OSError:  # a damaged file: the packer says so
        return None


def _table(path: Path, wanted: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """Rows of a CSV by header; nothing where there is no file."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        names = {name: name.strip(" ;\t").lower() for name in reader.fieldnames or ()}
        for name in wanted:
            if name not in names.values():
                raise DataError(
                    f"{path.parent.name}/{path.name} has no column {name!r}.{did_you_mean(name, names.values())}"
                )
        for row in reader:
            yield {name: (row[raw] or "").strip() for raw, name in names.items()}


def _labels(path: Path) -> str:
    return path.read_text(encoding="utf-8").splitlines()[0].strip() if path.is_file() and path.stat().st_size else ""
