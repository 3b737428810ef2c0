"""What the built-in world can be asked: by picture, by words alone, and by a sensor. All of it synthetic.

A question has a *kind*, `modality.about`, and one right answer in words that the small base model knows: it has read
of hardness and texture, and has never felt them.

Note:
    `image`, `text` and `words` kinds are what the base can do; `touch` and `points` are for stage two.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pairalign.data.world import FACTORS, VISIBLE

ABOUT = {
    "shape": "what shape is it?",
    "size": "how large is it?",
    "colour": "what colour is it?",
    "texture": "what is its surface like?",
    "hardness": "how hard is it?",
}
ORDERED = {"size": "larger", "hardness": "harder"}
DESCRIBE = "describe it."


class Asked(NamedTuple):
    """A question, its one right answer, and its kind."""

    kind: str
    question: str
    answer: str


def ask(modality: str, about: str, factors: Mapping[str, str]) -> Asked:
    """The open question about one factor of what a modality shows."""
    return Asked(f"{modality}.{about}", ABOUT[about], factors[about])


def ask_whether(modality: str, factors: Mapping[str, str], draw: random.Random) -> Asked:
    """A yes-or-no question; as often yes as no."""
    about = draw.choice(VISIBLE[modality])
    value = factors[about]
    if draw.random() < 0.5:
        value = draw.choice([v for v in FACTORS[about] if v != value])
    return Asked(f"{modality}.whether", f"is it {value}?", "yes" if value == factors[about] else "no")


def describe(modality: str, factors: Mapping[str, str]) -> Asked:
    """A sentence with every factor that a modality shows."""
    words = [factors[name] for name in ("size", "hardness", "colour") if name in VISIBLE[modality]]
    shape = factors["shape"] if "shape" in VISIBLE[modality] else "object"
    return Asked(
        f"{modality}.describe", DESCRIBE, " ".join(["a", *words, shape, "with a", factors["texture"], "surface"])
    )


def ask_words(draw: random.Random) -> Asked:
    """What the words mean, without any object: which of two is larger or harder."""
    about = draw.choice(sorted(ORDERED))
    one, other = draw.sample(FACTORS[about], 2)
    best = max(one, other, key=FACTORS[about].index)
    return Asked("words.order", f"which is {ORDERED[about]}, {one} or {other}?", best)


def compare(modality: str, about: str, first: Mapping[str, str], second: Mapping[str, str]) -> Asked:
    """Two objects in one prompt: is the second the same, or which is harder (larger)."""
    kind = f"{modality}.compare_{about}"
    if about not in ORDERED:
        same = first[about] == second[about]
        return Asked(kind, f"do both have the same {about}?", "yes" if same else "no")
    rank = [FACTORS[about].index(f[about]) for f in (first, second)]
    answer = "equal" if rank[0] == rank[1] else "first" if rank[0] > rank[1] else "second"
    return Asked(kind, f"which is {ORDERED[about]}, the first or the second?", answer)


def kinds_of(modality: str) -> Sequence[str]:
    """Every kind that one object of a modality can be asked."""
    return [f"{modality}.{about}" for about in (*VISIBLE[modality], "whether", "describe")]


def ask_kind(kind: str, factors: Mapping[str, str], draw: random.Random) -> Asked:
    """A question of a kind about one object."""
    modality, _, about = kind.partition(".")
    if about == "whether":
        return ask_whether(modality, factors, draw)
    return describe(modality, factors) if about == "describe" else ask(modality, about, factors)
