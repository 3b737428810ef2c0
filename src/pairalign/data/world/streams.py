"""Streams of pairs for each edge and split, no object in two of them.

Training pairs of different edges are different objects, so no object is ever seen by three modalities.
Splits: "train", "val" and "test" hold the combinations of training, each with objects of its own; "novel"
holds combinations that no edge ever trains on. `pool` renders several modalities of the same objects, for
evaluation only. Where it
bites: a stream goes through its combinations in random order without repeats, then again, so factors stay
independent and balanced however few samples are taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import combinations as choose
from typing import Any

import numpy as np

from pairalign.core.errors import DataError, did_you_mean
from pairalign.data.world.factors import FACTORS, MODALITIES, check_modalities, combinations
from pairalign.data.world.world import World

SPLITS = ("train", "val", "test", "novel")
_EDGES: tuple[tuple[str, ...], ...] = tuple(choose(MODALITIES, 2))
_SPAN = 1 << 32  # objects in a stream


def pairs(
    world: World,
    edge: Sequence[str] = ("image", "touch"),
    count: int = 1000,
    split: str = "train",
    start: int = 0,
) -> Iterator[dict[str, Any]]:
    """Yield `count` pairs of one edge from number `start`, only its two modalities rendered.

    Each is a dict of key, the two modalities, label (the five factors), split and group (the object). The
    order of the edge's ends does not matter. Raises `DataError` for an unknown modality or split.
    """
    check_modalities(edge)
    if len(set(edge)) != 2 or len(edge) != 2:
        raise DataError(f"pairs(edge={tuple(edge)!r}): name two different modalities.")
    stream = _EDGES.index(tuple(sorted(edge, key=MODALITIES.index)))
    return _walk(world, stream, tuple(edge), count, split, start)


def pool(
    world: World,
    count: int = 1000,
    split: str = "test",
    start: int = 0,
    modalities: Sequence[str] = MODALITIES,
) -> Iterator[dict[str, Any]]:
    """Yield `count` held-out objects, each seen by all `modalities`: `split` cannot be "train"."""
    check_modalities(modalities)
    if split == "train":
        raise DataError("pool(split='train'): an object seen by every modality is for evaluation; use pairs().")
    return _walk(world, len(_EDGES), tuple(modalities), count, split, start)


def _walk(
    world: World, stream: int, modalities: tuple[str, ...], count: int, split: str, start: int
) -> Iterator[dict[str, Any]]:
    if split not in SPLITS:
        raise DataError(f"split {split!r} does not exist.{did_you_mean(split, SPLITS)}")
    if start < 0 or count < 0 or start + count > _SPAN:
        raise DataError(f"start={start}, count={count}: a stream holds the objects 0 to {_SPAN - 1}.")
    number = stream * len(SPLITS) + SPLITS.index(split) + 1  # 0 is left to World.sample(0 ...)
    return (_pair(world, number, modalities, split, n) for n in range(start, start + count))


def _pair(world: World, number: int, modalities: tuple[str, ...], split: str, n: int) -> dict[str, Any]:
    every = combinations(split == "novel")
    values = every[_order(world.seed, number, n // len(every), len(every))[n % len(every)]]
    sample = world.sample(number * _SPAN + n, dict(zip(FACTORS, values, strict=True)), modalities)
    rendered = {name: sample[name] for name in modalities}
    return {
        "key": sample["key"],
        **rendered,
        "label": sample["factors"],
        "split": split,
        "group": sample["key"],
    }


@lru_cache(maxsize=64)
def _order(seed: int, number: int, lap: int, length: int) -> tuple[int, ...]:
    return tuple(np.random.default_rng([seed, number, lap, 7]).permutation(length).tolist())
