"""Touches and impact sounds of six real objects, and what may be asked of them.

Names are what a person would say. Material and colour are of the whole object; hardness is the order of its materials.

Note:
    `fold` leaves the test contacts out and puts a quarter of the training contacts in their place, as "test": that is
    where settings are chosen. Six objects are few, and every one of them is in training.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from real.senses import recordings, set_apart

WHICH, DESCRIBE = "Which object is it?", "Describe in one sentence what was touched."


class Thing(NamedTuple):
    """hardness: order of the material, the higher the harder."""

    name: str
    material: str
    colour: str
    hardness: int
    told: str


THINGS = {
    "Blue_Bowl": Thing("bowl", "glass", "blue", 2, "A blue bowl of glass."),
    "Portion_Cup_White": Thing("plastic cup", "plastic", "white", 1, "A white plastic cup."),
    "Glass_Red": Thing("wine glass", "glass", "red", 2, "A red wine glass with a pattern."),
    "Scoop": Thing("scoop", "plastic", "blue", 1, "A blue plastic scoop."),
    "Fork_Small": Thing("fork", "steel", "red", 3, "A small red fork of steel."),
    "Swan_Small": Thing("swan", "ceramic", "red", 2, "A red swan of ceramic."),
}
ASKED = {
    "object": (WHICH, "name"),
    "material": ("What is it made of?", "material"),
    "colour": ("What colour is the object?", "colour"),
    "description": (DESCRIBE, "told"),
}
APART = ("Scoop", "Blue_Bowl")  # never taught where objects are apart: others are of their materials
SAME, HARDER = "Are both of the same object?", "Which is harder, the first or the second?"


def about_one(data: Path, fold: int | None, sense: str, kinds: Sequence[str] = ("object",)) -> Iterator[dict[str, Any]]:
    """Every recording with one question of each kind: fields `touch` or `sound`, `question`, `answer`."""
    for row in recordings(sense, data, fold):
        for kind in kinds:
            question, what = ASKED[kind]
            told = {"question": question, "answer": getattr(THINGS[row["group"]], what), "label": kind}
            yield {**_common(row), "key": f"{row['key']}-{kind}", sense: row[sense], **told}


def material_apart(data: Path, fold: int | None, sense: str) -> Iterator[dict[str, Any]]:
    """What it is made of, of every contact with objects that training does not meet as "test", all others "train".

    With `fold`, nothing that is measured at the end: two other objects stand in for them.
    """
    return set_apart(about_one(data, None, sense, ["material"]), fold, APART, ("Portion_Cup_White", "Glass_Red"))


def about_two(data: Path, fold: int | None, sense: str, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Two contacts of one split, a question a contact in turn: fields `first`, `second`, `question`, `answer`."""
    rows, draw = list(recordings(sense, data, fold)), random.Random(seed)
    for n, row in enumerate(rows):
        others = [one for one in rows if one["split"] == row["split"] and one["key"] != row["key"]]
        mine = THINGS[row["group"]]
        if n % 2:
            alike = draw.random() < 0.5
            other = draw.choice([one for one in others if (one["group"] == row["group"]) == alike])
            told = {"question": SAME, "answer": "yes" if alike else "no", "label": "same"}
        else:
            apart = [one for one in others if THINGS[one["group"]].hardness != mine.hardness]
            other = draw.choice(apart)
            first = mine.hardness > THINGS[other["group"]].hardness
            told = {"question": HARDER, "answer": "the first" if first else "the second", "label": "harder"}
        yield {**_common(row), "key": f"{row['key']}-two", "first": row[sense], "second": other[sense], **told}


def _common(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"split": row["split"], "group": row["group"]}
