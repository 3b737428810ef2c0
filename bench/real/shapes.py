"""Point clouds of thirteen kinds of things, and what may be asked of them: the second sense, beside touch and sound.

Every shape is an object of its own, so that those of the test were never in training. Of a lesson of several kinds of
questions each shape is asked one.

Note:
    Every other shape of the test is asked about, to save time; one in seven is nearly in training. Classes that are
    taught "apart" were never in stage two, but stage one has seen them with their names.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from real.senses import recordings, set_apart


class Shape(NamedTuple):
    """name: what a person would say. kind: of four."""

    name: str
    kind: str

    @property
    def told(self) -> str:
        """A description."""
        return f"A 3D shape of {'an' if self.name[0] in 'aeiou' else 'a'} {self.name}."


LIVING, VEHICLE, FURNITURE, BUILDING = "living thing", "vehicle", "furniture", "building"
SHAPES = {
    "human figure": Shape("person", LIVING),
    "jet aircraft": Shape("jet", VEHICLE),
    "car": Shape("car", VEHICLE),
    "potted indoor plant": Shape("plant", LIVING),
    "rectangular table": Shape("table", FURNITURE),
    "ship": Shape("ship", VEHICLE),
    "chair": Shape("chair", FURNITURE),
    "four-legged animal": Shape("animal", LIVING),
    "tree": Shape("tree", LIVING),
    "house": Shape("house", BUILDING),
    "bench or sofa with several seats": Shape("sofa", FURNITURE),
    "biplane": Shape("biplane", VEHICLE),
    "bird": Shape("bird", LIVING),
}
SHAPE, KIND = "What is it?", "Is it a living thing, a vehicle, furniture or a building?"
ASKED = {
    "shape": (SHAPE, "name"),
    "kind": (KIND, "kind"),
    "description": ("Describe the shape in one sentence.", "told"),
}
APART = ("bird", "bench or sofa with several seats")  # never taught where classes are apart
SAME, MADE = "Are both of the same kind?", "Which was made by people, the first or the second?"


def shape_rows(data: Path, fold: int | None) -> list[dict[str, Any]]:
    """All shapes of the thirteen classes, of the test every other one, in an order of their own."""
    rows = [row for row in recordings("points", data, fold) if row["group"] in SHAPES]
    random.Random(0).shuffle(rows)
    tested = [row for row in rows if row["split"] == "test"]
    return [row for row in rows if row["split"] != "test"] + tested[::2]


def about_shape(
    data: Path, fold: int | None, sense: str, kinds: Sequence[str] = ("shape",)
) -> Iterator[dict[str, Any]]:
    """Every shape with one question, of several kinds in turn: fields `points`, `question`, `answer`."""
    for n, row in enumerate(shape_rows(data, fold)):
        question, what = ASKED[kinds[n % len(kinds)]]
        told = {"question": question, "answer": getattr(SHAPES[row["group"]], what), "label": kinds[n % len(kinds)]}
        yield {**_common(row), sense: row[sense], **told}


def kind_apart(data: Path, fold: int | None, sense: str) -> Iterator[dict[str, Any]]:
    """Which of four kinds it is, of classes that training does not meet as "test", all others "train".

    With `fold`, nothing that is measured at the end: two other classes stand in for them.
    """
    return set_apart(about_shape(data, None, sense, ["kind"]), fold, APART, ("tree", "chair"))


def two_shapes(data: Path, fold: int | None, sense: str) -> Iterator[dict[str, Any]]:
    """Two shapes of one split, a question a shape in turn: fields `first`, `second`, `question`, `answer`."""
    rows, draw = shape_rows(data, fold), random.Random(0)
    by_split = {split: [row for row in rows if row["split"] == split] for split in ("train", "test")}
    for n, row in enumerate(rows):
        mine = SHAPES[row["group"]]
        others = [one for one in by_split[row["split"]] if one["key"] != row["key"]]
        if n % 2:
            alike = draw.random() < 0.5 and any(SHAPES[one["group"]].kind == mine.kind for one in others)
            fits = [one for one in others if (SHAPES[one["group"]].kind == mine.kind) == alike]
            told = {"question": SAME, "answer": "yes" if alike else "no", "label": "same"}
        else:
            lives = mine.kind == LIVING
            fits = [one for one in others if (SHAPES[one["group"]].kind == LIVING) != lives]
            told = {"question": MADE, "answer": "the second" if lives else "the first", "label": "made"}
        yield {**_common(row), "first": row[sense], "second": draw.choice(fits)[sense], **told}


def _common(row: dict[str, Any]) -> dict[str, Any]:
    return {"key": row["key"], "split": row["split"], "group": row["group"]}
