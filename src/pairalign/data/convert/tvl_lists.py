"""TVL's lists of pairs: tables, the parallel lists of contact.json, and what finetune.json and synonyms.json add.

Note:
    Paths are compared whole, so that frame `12` is never taken for `120`; and a pair that stands in train.csv and in
    test.csv is a test pair only. Tables are read line by line, a JSON list whole, one at a time; what has to be looked
    up later lies on a `Shelf`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from pairalign.core.errors import DataError
from pairalign.core.limits import parse_json
from pairalign.data.convert.dataset_format import Skip
from pairalign.data.convert.shelf import Shelf
from pairalign.data.convert.table import read_table

SIDES = ("vision", "tactile", "background")


class Pair(NamedTuple):
    """One pair as a list names it: paths relative to the list's folder, "" for what it does not name."""

    url: str
    tactile: str
    background: str
    caption: str
    split: str
    contact: bool = True


def pairs_of(home: Path, skip: Skip, shelf: Shelf, *, captions: bool, not_contact: bool) -> Iterator[Pair]:
    """The pairs of one folder's lists, each once: those of test.csv, of train.csv, then of the JSON lists."""
    for pair in _parallel(home / "contact.json", "unlabelled"):
        shelf.put("contact", pair.url, pair)
    needed = ("url", "caption") if captions and not (home / "text").is_dir() else ("url",)
    for split in ("test", "train"):
        path = home / f"{split}.csv"
        for cells in read_table(path, needed, skip) if path.is_file() else ():
            url = _plain(cells["url"])
            tactile, background = (_plain(cells.get(name, "")) for name in ("tactile", "tactile_background"))
            spare = shelf.get("contact", url)
            if spare is not None:
                tactile, background = tactile or spare.tactile, background or spare.background
            if _new(url, split, home, skip, shelf):
                yield Pair(url, tactile, background, cells.get("caption", ""), split)
    for pair in shelf.values("contact"):
        if shelf.get("split", pair.url) is None:
            shelf.put("split", pair.url, pair.split)
            yield pair
    for pair in _parallel(home / "not_contact.json", "not_contact") if not_contact else ():
        if _new(pair.url, pair.split, home, skip, shelf):
            yield pair._replace(caption="background", contact=False)


def keep_conversations(path: Path, shelf: Shelf) -> None:
    """Question, answer, and further ones, onto the shelf as "conversation" by the image's path."""
    for image, values in _read(path, _conversation, "[{image, conversations: [{value}]}]"):
        shelf.put("conversation", image, [*(shelf.get("conversation", image) or []), *values])


def synonyms(path: Path) -> dict[str, list[str]]:
    """Other words by adjective."""
    return dict(_read(path, _synonyms, "{word: [words]}"))


def words_of(caption: str) -> list[str]:
    """The adjectives of a caption, as the authors split them: at commas, lower case, without full stops."""
    words = (word.strip() for word in caption.replace(".", "").replace("\n", "").lower().split(","))
    return [word for word in words if word]


def _new(url: str, split: str, home: Path, skip: Skip, shelf: Shelf) -> bool:
    """Whether no list named this pair before; else it is said."""
    earlier = shelf.get("split", url)
    if earlier is None:
        shelf.put("split", url, split)
    else:
        skip(f"{home.name}/{url}", f"named twice: in {earlier} and in {split}; kept in {earlier}")
    return earlier is None


def _parallel(path: Path, split: str) -> Iterator[Pair]:
    """The pairs of parallel lists; none where there is no such file."""
    return _read(path, lambda lists: _pairs(lists, split), "{vision: [paths], tactile: [as many], background: …}")


def _pairs(lists: Any, split: str) -> Iterator[Pair]:
    vision, tactile = lists["vision"], lists["tactile"]
    background = lists.get("background") or [""] * len(vision)
    for url, touch, empty in zip(vision, tactile, background, strict=True):
        yield Pair(_plain(url), _plain(touch), _plain(empty or ""), "", split)


def _conversation(entries: Any) -> Iterator[tuple[str, list[str]]]:
    for entry in entries:
        if entry.get("image"):
            yield _plain(entry["image"]), [str(turn["value"]) for turn in entry["conversations"]]


def _synonyms(words: Any) -> Iterator[tuple[str, list[str]]]:
    for word, others in words.items():
        yield word.strip().lower(), [str(other) for other in others]


def _read(path: Path, entries: Callable[[Any], Iterator[Any]], form: str) -> Iterator[Any]:
    """What a JSON file holds; raise `DataError` where it is of another form, and give nothing where it is not there."""
    if not path.is_file():
        return
    try:
        yield from entries(parse_json(path.read_text(encoding="utf-8-sig"), path.name, "table"))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"{path.parent.name}/{path.name} is not of the form {form} ({error}): copy it again."
        ) from error


def _plain(path: str) -> str:
    """The path without "./" and doubled slashes, "" for none."""
    return str(PurePosixPath(path)) if path else ""
