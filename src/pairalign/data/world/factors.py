"""The known factors of the built-in world, who can see which, and which combinations are never trained.

What a modality can see is the ground truth of partial alignment: an edge, or a path of edges, can carry only
what every modality on it sees.

Note:
    A combination is *novel* by its (shape, size, texture) alone, so that it is new to every edge that sees all three,
    whatever its colour and hardness.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import product

from pairalign.core.errors import DataError, did_you_mean

FACTORS: dict[str, tuple[str, ...]] = {
    "shape": ("sphere", "cube", "cylinder", "cone", "ring"),
    "size": ("small", "medium", "large"),
    "colour": ("red", "yellow", "green", "blue", "purple", "white"),
    "texture": ("smooth", "ridged", "bumpy", "gridded", "rough"),
    "hardness": ("soft", "firm", "hard"),
}

VISIBLE: dict[str, tuple[str, ...]] = {
    "image": ("shape", "size", "colour", "texture"),
    "touch": ("texture", "hardness"),
    "points": ("shape", "size", "texture"),
    "text": ("shape", "size", "colour", "texture", "hardness"),
}

MODALITIES: tuple[str, ...] = tuple(VISIBLE)


def shared_factors(path: Sequence[str]) -> tuple[str, ...]:
    """The factors that every modality on `path` sees, in the order of `FACTORS`.

    `("touch", "image", "text")` → `("texture",)`. Raises `DataError` for an unknown modality or an empty
    path.
    """
    if not path:
        raise DataError("shared_factors(path=()): name at least one modality.")
    check_modalities(path)
    return tuple(factor for factor in FACTORS if all(factor in VISIBLE[modality] for modality in path))


def check_modalities(names: Sequence[str]) -> None:
    """Raise `DataError` unless every name is a modality of this world."""
    for name in names:
        if name not in VISIBLE:
            raise DataError(f"the built-in world has no modality {name!r}.{did_you_mean(name, VISIBLE)}")


@cache
def novel_triples() -> frozenset[tuple[str, str, str]]:
    """The 10 of 75 (shape, size, texture) that training never holds.

    Two a shape, two a texture, three or four a size. Every value and every pair of values of all factors
    still occurs in training.
    """
    shapes, sizes, textures = FACTORS["shape"], FACTORS["size"], FACTORS["texture"]
    return frozenset((shapes[n // 2], sizes[n % 3], textures[2 * n % 5]) for n in range(2 * len(shapes)))


@cache
def combinations(novel: bool | None = None) -> tuple[tuple[str, ...], ...]:
    """All 1,350 combinations in the order of `FACTORS`, or the 180 novel, or the 1,170 of training."""
    every = tuple(product(*FACTORS.values()))
    if novel is None:
        return every
    return tuple(values for values in every if is_novel(dict(zip(FACTORS, values, strict=True))) == novel)


def is_novel(factors: Mapping[str, str]) -> bool:
    """True if training never holds these factors together."""
    return (factors["shape"], factors["size"], factors["texture"]) in novel_triples()


def check_factors(factors: Mapping[str, str]) -> dict[str, str]:
    """`factors` in the order of `FACTORS`; raise `DataError` for a missing or unknown one."""
    for name in factors:
        if name not in FACTORS:
            raise DataError(f"combination names the factor {name!r}.{did_you_mean(name, FACTORS)}")
    for name, values in FACTORS.items():
        if name not in factors:
            raise DataError(f"combination {dict(factors)!r} lacks {name!r}: give one of {', '.join(values)}.")
        if factors[name] not in values:
            raise DataError(f"combination: {name}={factors[name]!r}.{did_you_mean(factors[name], values)}")
    return {name: factors[name] for name in FACTORS}
