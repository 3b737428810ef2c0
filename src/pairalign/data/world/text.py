"""The caption: a template and a synonym for each factor value, all five factors in every caption.

`parse_caption` inverts it, which a test holds against every template and synonym.

Note:
    No word names two values of any factors, so the words of a caption are enough, in whatever order.
"""

from __future__ import annotations

import re

import numpy as np

from pairalign.core.errors import DataError

SYNONYMS: dict[str, dict[str, tuple[str, ...]]] = {
    "shape": {
        "sphere": ("sphere", "ball"),
        "cube": ("cube", "block"),
        "cylinder": ("cylinder", "can"),
        "cone": ("cone", "funnel"),
        "ring": ("ring", "donut"),
    },
    "size": {
        "small": ("small", "little"),
        "medium": ("medium", "mid-sized"),
        "large": ("large", "big"),
    },
    "colour": {
        "red": ("red", "crimson"),
        "yellow": ("yellow", "golden"),
        "green": ("green", "emerald"),
        "blue": ("blue", "azure"),
        "purple": ("purple", "violet"),
        "white": ("white", "ivory"),
    },
    "texture": {
        "smooth": ("smooth", "even"),
        "ridged": ("ridged", "ribbed"),
        "bumpy": ("bumpy", "knobbly"),
        "gridded": ("gridded", "tiled"),
        "rough": ("rough", "grainy"),
    },
    "hardness": {
        "soft": ("soft", "squishy"),
        "firm": ("firm", "springy"),
        "hard": ("hard", "rigid"),
    },
}

TEMPLATES: tuple[str, ...] = (
    "a {size}, {hardness}, {colour} {shape} with a {texture} surface",
    "a {colour} {shape}, {size} and {hardness}, with a {texture} surface",
    "this {size} {colour} {shape} feels {hardness} and {texture}",
    "a {texture}, {hardness} {shape} that is {size} and {colour}",
    "the {shape} is {colour} and {size}; to the touch it is {hardness} and {texture}",
    "a {hardness} {shape} in {colour}, {size}, its surface {texture}",
)

_VALUE_OF = {
    word: (factor, value) for factor, values in SYNONYMS.items() for value, words in values.items() for word in words
}


def render_text(factors: dict[str, str], rng: np.random.Generator) -> str:
    """A caption that names all five factors."""
    words = {name: SYNONYMS[name][value][rng.integers(len(SYNONYMS[name][value]))] for name, value in factors.items()}
    sentence = TEMPLATES[rng.integers(len(TEMPLATES))].format(**words)
    return re.sub(r"\b([Aa])(?= [aeiou])", r"\1n", sentence)


def parse_caption(caption: str) -> dict[str, str]:
    """The five factors that a caption names; raise `DataError` if one is missing or named twice."""
    found: dict[str, str] = {}
    for word in words_of(caption):
        factor, value = _VALUE_OF.get(word, ("", ""))
        if factor in found:
            raise DataError(f"caption {caption!r} names {factor} twice: {found[factor]!r} and {value!r}.")
        if factor:
            found[factor] = value
    if missing := [factor for factor in SYNONYMS if factor not in found]:
        raise DataError(f"caption {caption!r} does not name {', '.join(missing)}.")
    return {factor: found[factor] for factor in SYNONYMS}


def words_of(caption: str) -> list[str]:
    """Lower-case words of a caption, without punctuation."""
    return re.findall(r"[a-z]+(?:-[a-z]+)*", caption.lower())


def vocabulary() -> tuple[str, ...]:
    """Every word that a caption can hold, sorted."""
    fixed = {word for template in TEMPLATES for word in words_of(re.sub(r"\{\w+\}", " ", template))}
    return tuple(sorted(fixed | {"an"} | set(_VALUE_OF)))
