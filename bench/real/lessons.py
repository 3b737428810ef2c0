"""Every shard folder that a run reads, packed once under WORK/lessons.

`fold` and `whole` have the touches, the former for choosing settings; the rest is what the base can do already. Facts
and pictures are split in two halves of one size: "val" is looked at while settings are chosen, "test" at the end.

Note:
    A folder that is there is not packed again.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any, NamedTuple

from pairalign.data.pack import pack_pairs
from real import shapes
from real.contacts import ASKED, WHICH, about_one, about_two, material_apart
from real.pictures import NAME, TEST, find_pictures
from real.talk import COMPARED, SENTENCE, SHOWN, TOLD, TRUE, WORD


class Lesson(NamedTuple):
    """What is taught and asked of a sense. make: of data, fold and sense the rows. question: of all rows, if it is one.
    two: whether a prompt has two signals, `first` and `second`."""

    sense: str
    make: Callable[[Path, int | None, str], Iterator[dict[str, Any]]]
    question: str | None = None
    two: bool = False

    @property
    def fields(self) -> tuple[str, ...]:
        """Of a row, those that hold a signal."""
        return ("first", "second") if self.two else (self.sense,)


MANY, SHAPED = list(ASKED), list(shapes.ASKED)
LESSONS = {
    "object": Lesson("touch", about_one, WHICH),
    "many": Lesson("touch", partial(about_one, kinds=MANY)),
    "pairs": Lesson("touch", about_two, two=True),
    "apart": Lesson("touch", material_apart),
    "sound": Lesson("sound", about_one, WHICH),
    "sound many": Lesson("sound", partial(about_one, kinds=MANY)),
    "sound pairs": Lesson("sound", about_two, two=True),
    "sound apart": Lesson("sound", material_apart),
    "shape": Lesson("points", shapes.about_shape, shapes.SHAPE),
    "shape many": Lesson("points", partial(shapes.about_shape, kinds=SHAPED)),
    "shape pairs": Lesson("points", shapes.two_shapes, two=True),
    "shape apart": Lesson("points", shapes.kind_apart),
}
FIRST = {"touch": "object", "sound": "sound", "points": "shape"}  # of a sense, what is always asked
FOLDS = {"fold": 0, "whole": None}
MEASURED = {0: "test", 1: "val"}  # which of a class's held-out pictures is asked about when
PASSAGE, SHOWN_PASSAGES = 300, 96  # characters; how many calibration may show


def pack_lessons(data: Path, pictures: Path, facts: Path, work: Path) -> Path:
    """Pack what is missing; the folder of all."""
    home = work / "lessons"
    for name, fold in FOLDS.items():
        for called, lesson in LESSONS.items():
            if not (home / name / called / "index.json").exists():
                rows = lesson.make(data, fold, lesson.sense)
                _pack(home / name / called, rows, [*lesson.fields, "question", "answer"])
    _pack(home / "pictures", _pictures(pictures), ["image", "question", "answer"])
    _pack(home / "facts", halved(read_facts(facts)), ["question", "answer"])
    _pack(home / "shown", ({"question": one, "split": "train"} for one in SHOWN), ["question"])
    _pack(home / "passages", ({"text": one, "split": "train"} for one in passages(SHOWN_PASSAGES)), ["text"])
    for name, asked in (("yes or no", TRUE), ("compared", COMPARED)):
        _pack(home / name, halved([{"question": q, "answer": a} for q, a in asked]), ["question", "answer"])
    return home


def sensed(data: Path, fold: int | None) -> dict[str, list[dict[str, Any]]]:
    """What is taught and asked about signals, by lesson."""
    return {name: list(lesson.make(data, fold, lesson.sense)) for name, lesson in LESSONS.items()}


def _pack(out: Path, rows: Iterator[dict[str, Any]], modalities: list[str]) -> None:
    if not (out / "index.json").exists():
        keyed = ({"key": f"{out.name.replace(' ', '-')}-{n}", **row} for n, row in enumerate(rows))
        pack_pairs(keyed, out, modalities=modalities, progress=False)


def _pictures(root: Path) -> Iterator[dict[str, Any]]:
    """Training pictures, and of each class one to choose by and one to measure with."""
    seen: dict[str, int] = {}
    for picture in find_pictures(root):
        place = seen[picture.name] = seen.get(picture.name, -1) + 1
        split = "train" if place >= TEST else MEASURED.get(place)
        if split is not None:
            yield {"image": root / picture.path, "question": NAME, "answer": picture.name, "split": split}


def read_facts(path: Path) -> list[dict[str, Any]]:
    """Questions with the word that a right answer holds: of several, the one that the base said."""
    found = []
    for row in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
        keys = row["keys"].split(",")
        answer = next((key for key in keys if key.casefold() in row["answer"].casefold()), keys[0])
        found.append({"question": row["question"], "answer": answer})
    return found


def halved(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The same in an order of their own, every other one to choose by."""
    order = random.Random(0).sample(range(len(rows)), len(rows))
    for n, place in enumerate(order):
        yield {**rows[place], "split": "val" if n % 2 else "test"}


def instructed() -> list[dict[str, str]]:
    """Questions that ask for a form: one word, or a sentence."""
    return [
        {"question": start + one, "form": form}
        for form, start in (("word", WORD), ("sentence", SENTENCE))
        for one in TOLD
    ]


def passages(count: int, first: int = 0) -> list[str]:
    """English prose of the interpreter's own manual, a part of a paragraph each."""
    whole = (" ".join(part.split()) for name in sorted(topics) for part in topics[name].split("\n\n"))
    prose = [text for text in dict.fromkeys(whole) if len(text) > PASSAGE and text.count('"') < 10 and "::" not in text]
    return [text[:PASSAGE] for text in prose[first : first + count]]
