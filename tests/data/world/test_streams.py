"""Streams: no object twice, combinations balanced, novel ones only where they belong."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from pairalign.core.errors import DataError
from pairalign.data.world import FACTORS, MODALITIES, SPLITS, World, is_novel, pairs, pool
from pairalign.data.world import combinations as world_combinations

WORLD = World(seed=5, image_size=16, touch_size=16, points=16)
EDGES = [("image", "text"), ("image", "touch"), ("text", "points")]


def test_no_object_is_in_two_edges_or_splits() -> None:
    keys = [p["key"] for edge in EDGES for split in SPLITS for p in pairs(WORLD, edge, 12, split)]
    keys += [p["key"] for split in SPLITS[1:] for p in pool(WORLD, 12, split, modalities=("text",))]
    keys += [WORLD.sample(index, modalities=())["key"] for index in range(12)]
    assert len(keys) == len(set(keys))


def test_only_the_two_sides_of_the_edge_are_there() -> None:
    for edge in EDGES:
        (pair,) = pairs(WORLD, edge, 1)
        assert set(pair) == {"key", *edge, "label", "split", "group"}
        assert list(pair["label"]) == list(FACTORS)
        assert pair["split"] == "train"
    (seen,) = pool(WORLD, 1)
    assert set(seen) == {"key", *MODALITIES, "label", "split", "group"}


def test_a_stream_can_start_anywhere_and_repeats_exactly() -> None:
    whole = list(pairs(WORLD, ("text", "points"), 9, "val"))
    later = list(pairs(World(seed=5, points=16), ("points", "text"), 4, "val", start=5))
    for a, b in zip(whole[5:], later, strict=True):
        assert (a["key"], a["label"], a["text"]) == (b["key"], b["label"], b["text"])
        np.testing.assert_array_equal(a["points"], b["points"])


def test_another_seed_is_another_world() -> None:
    one, two = (list(pairs(World(seed=s), ("image", "text"), 20)) for s in (0, 1))
    assert [p["label"] for p in one] != [p["label"] for p in two]
    assert not {p["key"] for p in one} & {p["key"] for p in two}


@pytest.mark.parametrize("split", SPLITS)
def test_novel_combinations_are_in_the_novel_split_alone(split: str) -> None:
    labels = [tuple(p["label"].values()) for p in _texts(split, len(world_combinations(split == "novel")))]
    assert all(is_novel(dict(zip(FACTORS, label, strict=True))) == (split == "novel") for label in labels)
    assert Counter(labels) == Counter(world_combinations(split == "novel")), "one lap holds each once"


def test_laps_differ_in_order() -> None:
    length = len(world_combinations(True))
    labels = [tuple(p["label"].values()) for p in _texts("novel", 2 * length)]
    assert labels[:length] != labels[length:]
    assert set(labels[:length]) == set(labels[length:])


def test_training_objects_are_not_for_a_pool() -> None:
    with pytest.raises(DataError, match="use pairs"):
        pool(WORLD, split="train")


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: pairs(WORLD, ("image", "imge"), 1), "Did you mean 'image'"),
        (lambda: pairs(WORLD, ("image", "image"), 1), "two different"),
        (lambda: pairs(WORLD, ("image", "text"), 1, "tset"), "Did you mean 'test'"),
        (lambda: pairs(WORLD, ("image", "text"), -1), "count=-1"),
    ],
)
def test_a_wrong_argument_is_told_at_the_call(call, told: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=told):
        call()


def _texts(split: str, count: int) -> list[dict]:
    if split == "train":
        return list(pairs(World(seed=5, points=16), ("text", "points"), count))
    return list(pool(World(seed=5), count, split, modalities=("text",)))
