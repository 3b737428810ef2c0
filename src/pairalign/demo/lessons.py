"""Questions and answers about the built-in world as rows to pack: what a sensor is to teach, and what must stay.

Note:
    Objects here are of worlds of their own, so that stage one's encoders have not seen them either.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pairalign.data.encode import ImageFormat
from pairalign.data.pack import pack_pairs
from pairalign.data.world import FACTORS, VISIBLE, World, combinations
from pairalign.demo.questions import Asked, ask_kind, ask_words, compare, kinds_of

POINTS = {"unit": "m", "axes": ("point", "coordinate")}
COMPARED = {"touch": ("hardness", "texture"), "points": ("size", "shape")}
UNKNOWN = "whether"  # the base answers yes-or-no questions hardly better than chance, so nobody is asked any
WORLDS = {"train": 501, "val": 502, "test": 503}


def about_one(
    modality: str, count: int, split: str, seed: int = 0, kinds: Sequence[str] | None = None
) -> Iterator[dict[str, Any]]:
    """One object and one question a row, kinds in turn: key, the modality, question, answer, label (the kind).

    kinds: only these of the modality's, by default all that the base can answer.
    """
    world, draw = World(seed=WORLDS[split] + 1000 * seed), random.Random(f"{modality} {split} {seed}")
    kinds = kinds or [kind for kind in kinds_of(modality) if not kind.endswith(UNKNOWN)]
    for n in range(count):
        sample = world.sample(n, draw_factors(draw), (modality,))
        asked = ask_kind(kinds[n % len(kinds)], sample["factors"], draw)
        yield {**_row(sample["key"], asked, split), modality: sample[modality]}


def about_two(modality: str, count: int, split: str, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Two objects of a modality to compare: fields `first` and `second`."""
    world, draw = World(seed=WORLDS[split] + 1000 * seed), random.Random(f"two {modality} {split} {seed}")
    for n in range(count):
        about, pair = COMPARED[modality][n % 2], (draw_factors(draw), draw_factors(draw))
        if about in ("texture", "shape"):  # as often alike as not
            pair = (pair[0], {**pair[1], about: pair[0][about]}) if draw.random() < 0.4 else pair
        one, other = (world.sample(10_000_000 + 2 * n + k, pair[k], (modality,)) for k in (0, 1))
        asked = compare(modality, about, pair[0], pair[1])
        yield {**_row(one["key"], asked, split), "first": one[modality], "second": other[modality]}


def about_words(count: int, split: str, seed: int = 0) -> Iterator[dict[str, Any]]:
    """What words mean, without an object."""
    draw = random.Random(f"words {split} {seed}")
    for n in range(count):
        yield _row(f"words-{split}-{n}", ask_words(draw), split)


def draw_factors(draw: random.Random) -> dict[str, str]:
    """One of all combinations of factors."""
    return dict(zip(FACTORS, draw.choice(combinations()), strict=True))


def _row(key: str, asked: Asked, split: str) -> dict[str, Any]:
    return {
        "key": key,
        "question": asked.question,
        "answer": asked.answer,
        "label": asked.kind,
        "split": split,
        "group": key,
    }


def pack_lessons(
    folder: Path,
    name: str,
    sizes: dict[str, int],
    seed: int = 0,
    *,
    kinds: Sequence[str] | None = None,
    called: str | None = None,
) -> None:
    """Pack the rows of `name` ("touch", "touch_pairs", "image", "text", "words", …) with so many of each split.

    kinds: of questions about one object, see `about_one`. called: the shard folder, where it is not `name`.
    """
    place = folder / (called or name)
    if (place / "index.json").exists():
        return
    modality, _, pairs = name.partition("_")

    def rows() -> Iterator[dict[str, Any]]:
        for split, count in sizes.items():
            if name == "words":
                yield from about_words(count, split, seed)
            elif pairs:
                yield from about_two(modality, count, split, seed)
            else:
                yield from about_one(modality, count, split, seed, kinds)

    fields = ["first", "second"] if pairs else [modality] if modality in VISIBLE else []
    pack_pairs(
        rows(),
        place,
        modalities=[*fields, "question", "answer"],
        units=dict.fromkeys(fields, POINTS) if modality == "points" else None,
        image=ImageFormat("png"),
        progress=False,
        synthetic=True,
        licence="Apache-2.0",
    )
