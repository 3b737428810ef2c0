"""TVL (Fu et al. 2024, arXiv:2402.13232): touch, camera image and adjectives, from two collections.

    ssvtp/images_{rgb,tac}/image_<n>_{rgb,tac}.jpg   ssvtp/text/labels_<n>.txt   ssvtp/{train,test}.csv, synonyms.json
    hct/data<k>/<trajectory>/{vision,tactile}/<frame>.jpg                        the same name on both sides
    hct/data<k>/{train,test}.csv, contact.json, not_contact.json, digit_background.png
    {ssvtp,hct/data<k>}/finetune.json                                            a question and its answer about a pair

The tables' columns are url, tactile, tactile_background and caption, found by name; a touch that no list names is found
by its file's name. Files are stored as they are: the authors' loader pads the touch image square and turns it by 90°
counter-clockwise, so each sample's meta says "rotate": 90 for an encoder that is to see the same.

Note:
    HCT's official split puts frames of one trajectory on both sides; "by_trajectory" keeps them whole. SSVTP has no
    trajectories, so each of its pairs is its own session, and neighbouring touches of one cloth may be divided. Some
    copies have the folders of a trajectory exchanged: a few images of each are opened while listing. Samples come a
    trajectory at a time, while the lists mix them: until all of a folder's lists are read they wait on disk.
"""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import Any

from pairalign.core.errors import DataError, did_you_mean
from pairalign.data.convert.dataset_format import Listing, Skip, register_format
from pairalign.data.convert.gel_side import exchanged, look, spread
from pairalign.data.convert.shelf import Shelf
from pairalign.data.convert.tvl_lists import Pair, keep_conversations, pairs_of, synonyms, words_of

SUBSETS = ("all", "ssvtp", "hct")
SWAPPED = {"report": "suspected", "exchange": "exchanged"}  # what the meta of such a sample says, by option
LISTS = ("train.csv", "test.csv", "contact.json")
HOMES = ("ssvtp", "hct/*", "tvl_dataset/ssvtp", "tvl_dataset/hct/*")
EMPTY = "digit_background.png"  # the gel untouched
NUMBERED = re.compile(r"image_(\d+)_rgb")


@register_format(
    "tvl",
    title="TVL: DIGIT touch, camera images and adjectives (SSVTP and HCT)",
    source="https://github.com/Max-Fu/tvl (arXiv:2402.13232)",
    licence="Apache-2.0 for the authors' repository; none stated with the data: ask them before you redistribute",
    marks=("|".join(f"{home}/{name}" for home in HOMES for name in LISTS),),
    facts={"touch": {"unit": "1", "sensor": "DIGIT"}, "image": {"unit": "1"}},
    whole="session",
    split_set="by_trajectory",
)
def read(
    folder: Path,
    skip: Skip,
    *,
    subset: str = "all",
    captions: bool = True,
    not_contact: bool = False,
    swapped: str = "report",
) -> Listing:
    """Pairs that the lists name.

    subset: "all", "ssvtp" or "hct". captions: False leaves them out, and adds the frames that only contact.json names,
    as the split "unlabelled". not_contact: add the frames of not_contact.json, captioned "background" as the authors
    do, as the split "not_contact". swapped: "report" where the folders of a trajectory look exchanged, or "exchange"
    them back.
    """
    for name, value, known in (("subset", subset, SUBSETS), ("swapped", swapped, SWAPPED)):
        if value not in known:
            raise DataError(f"option {name}={value!r} of 'tvl' is unknown.{did_you_mean(value, known)}")
    for home in _homes(folder, subset):
        with closing(Shelf()) as shelf:
            words = synonyms(home / "synonyms.json")
            keep_conversations(home / "finetune.json", shelf)
            for pair in pairs_of(home, skip, shelf, captions=captions, not_contact=not_contact):
                sample = _sample(home, pair, captions, skip)
                if sample:
                    talk = shelf.get("conversation", pair.url)
                    sample["meta"] |= _words(sample.get("text", ""), words)
                    sample["meta"] |= {} if talk is None else {"conversation": talk}
                    shelf.file("ssvtp" if home.name == "ssvtp" else sample["session"], sample)
            for place, count in shelf.heaps():
                turned = _looks_exchanged(home, place, shelf, count, swapped, skip)
                for sample in shelf.filed(place):
                    if turned:
                        sample["meta"]["swapped"] = SWAPPED[swapped]
                    yield _exchange(home, sample) if turned and swapped == "exchange" else sample


def _homes(folder: Path, subset: str) -> list[Path]:
    """The folders that hold lists; raise `DataError` if the subset has none."""
    top = folder / "tvl_dataset" if (folder / "tvl_dataset").is_dir() else folder
    wanted = [top / "ssvtp"] if subset != "hct" else []
    if subset != "ssvtp" and (top / "hct").is_dir():
        wanted += sorted(path for path in (top / "hct").iterdir() if path.is_dir())
    homes = [home for home in wanted if any((home / name).is_file() for name in LISTS)]
    if not homes:
        raise DataError(f"option subset={subset!r} of 'tvl': {str(top)!r} holds no lists of it: use another subset.")
    return homes


def _sample(home: Path, pair: Pair, captions: bool, skip: Skip) -> dict[str, Any]:
    """The sample of a pair, or nothing where something is missing, and then said."""
    ssvtp, url = home.name == "ssvtp", PurePosixPath(pair.url)
    session, touch = _in_ssvtp(url) if ssvtp else _in_hct(home, url)
    key = session if ssvtp else f"{session}/{url.stem}"
    missing = [side for side, path in (("image", url), ("touch", touch)) if not (home / path).is_file()]
    caption = pair.caption or (_label(home, session) if ssvtp else "")
    if not session or url.is_absolute() or ".." in url.parts:
        skip(f"{home.name}/{url}", "odd path: it is not that of an image of TVL")
    elif pair.tactile and pair.tactile != str(touch):
        skip(key, f"other frames: {url} is paired with {pair.tactile}, which is not {touch}")
    elif missing:
        skip(key, f"missing {missing[0]} file: {url if missing[0] == 'image' else touch}")
    elif captions and not caption:
        skip(key, "no caption: its list gives none; captions=false converts it without")
    else:
        meta = {"sensor": "DIGIT", "subset": "ssvtp" if ssvtp else "hct", "contact": pair.contact, "rotate": 90}
        paths = {"image": home / url, "touch": _touch(home, home / touch, pair.background)}
        text = {"text": caption} if captions else {}
        return {"key": key, **paths, **text, "session": session, "split": pair.split, "meta": meta}
    return {}


def _in_ssvtp(url: PurePosixPath) -> tuple[str, PurePosixPath]:
    """Session, "" for an odd path, and the path of the touch."""
    number = NUMBERED.fullmatch(url.stem)
    name = f"image_{number[1]}_tac{url.suffix}" if number else ""
    return (f"ssvtp/{number[1]}" if number else "", url.parent.parent / "images_tac" / name)


def _in_hct(home: Path, url: PurePosixPath) -> tuple[str, PurePosixPath]:
    """The same, of a frame of a trajectory."""
    other = {"vision": "tactile", "tactile": "vision"}.get(url.parent.name)
    trajectory = url.parent.parent
    session = f"hct/{home.name}/{trajectory}" if other and trajectory.name else ""
    return session, trajectory / (other or "") / url.name


def _label(home: Path, session: str) -> str:
    """The caption that SSVTP keeps in a file of its own: its first line."""
    path = home / "text" / f"labels_{session.removeprefix('ssvtp/')}.txt"
    lines = path.read_text(encoding="utf-8-sig").splitlines() if path.is_file() else []
    return lines[0].strip() if lines else ""


def _touch(home: Path, path: Path, background: str) -> Path | dict[str, Path]:
    """The touch with the gel untouched, as far as the lists or the folder give it."""
    named = PurePosixPath(background)
    inside = background and not named.is_absolute() and ".." not in named.parts
    for empty in (*([home / named] if inside else []), home / EMPTY):
        if empty.is_file():
            return {"value": path, "background": empty}
    return path


def _words(caption: str, synonyms: dict[str, list[str]]) -> dict[str, Any]:
    """The caption's adjectives and what may stand for them."""
    words = words_of(caption)
    others = {word: synonyms[word] for word in words if word in synonyms}
    return ({"adjectives": words} if words else {}) | ({"synonyms": others} if others else {})


def _main(touch: Any) -> Path:
    path: Path = touch["value"] if isinstance(touch, dict) else touch
    return path


def _looks_exchanged(home: Path, place: str, shelf: Shelf, count: int, swapped: str, skip: Skip) -> bool:
    """Whether the two folders of a place's samples are the wrong way round, by a few of them, and then said."""
    empty, samples = look([home / EMPTY]), [shelf.nth(place, number) for number in spread(count)]
    touch, image = look([_main(s["touch"]) for s in samples]), look([s["image"] for s in samples])
    if not exchanged(touch, image, empty[0] if len(empty) else None):
        return False
    done = "exchanged back" if swapped == "exchange" else "convert with swapped=exchange to put them right"
    skip.suspect(f"{place}: touch and image look exchanged in the folder, {count} samples: {done}.")
    return True


def _exchange(home: Path, sample: dict[str, Any]) -> dict[str, Any]:
    """The sample with its sides exchanged; a background out of the touch folder is exchanged with them."""
    touch, image = _main(sample["touch"]), sample["image"]
    named = sample["touch"]["background"] if isinstance(sample["touch"], dict) else None
    if named is not None and named.parent == touch.parent:
        named = image.parent / named.name
    background = str(named.relative_to(home)) if named is not None else ""
    return sample | {"image": touch, "touch": _touch(home, image, background)}
