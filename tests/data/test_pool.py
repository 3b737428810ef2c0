"""Which sample of a pool comes when: shares, passes, streams, places to go on from."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import vector_pairs
from pairalign.data.pack import pack_pairs
from pairalign.data.pool import Drawn, Part, pool_order, quotas, read_pool, stored_places

COUNTS = [30, 7, 90]


def places(epoch: int, shares: list[int], **options: Any) -> list[tuple[int, int, int]]:
    drawn = pool_order(COUNTS, shares, shuffle=True, seed=5, epoch=epoch, **options)
    return list(zip(*(column.tolist() for column in drawn), strict=True))


def test_by_size_every_sample_comes_once_an_epoch() -> None:
    for epoch in range(3):
        drawn = places(epoch, COUNTS)
        assert sorted(drawn) == [(s, epoch, k) for s, count in enumerate(COUNTS) for k in range(count)]


def test_a_source_is_walked_through_before_it_starts_over() -> None:
    shares = [50, 50, 27]
    drawn = [place for epoch in range(6) for place in places(epoch, shares)]
    for source, count in enumerate(COUNTS):
        mine = [(turn, place) for number, turn, place in drawn if number == source]
        assert mine == [divmod(k, count) for k in range(len(mine))]


def test_sources_are_spread_over_the_epoch() -> None:
    """Any 20 in a row hold their share of each source, but for two samples."""
    drawn = [source for source, _, _ in places(0, COUNTS)]
    for start in range(len(drawn) - 20):
        found = Counter(drawn[start : start + 20])
        assert all(abs(found[s] - 20 * count / sum(COUNTS)) <= 2 for s, count in enumerate(COUNTS))
    assert [source for source, _, _ in places(1, COUNTS)] != drawn


@pytest.mark.parametrize("streams", [2, 3, 7])
def test_streams_together_take_what_one_takes(streams: int) -> None:
    alone = [place for epoch in range(4) for place in places(epoch, COUNTS)]
    shared = {
        n: iter([p for e in range(4) for p in places(e, COUNTS, stream=n, streams=streams, block=4)])
        for n in range(streams)
    }
    for start in range(0, len(alone) - 4, 4):
        assert [next(shared[start // 4 % streams]) for _ in range(4)] == alone[start : start + 4]


@pytest.fixture
def two(tmp_path: Path) -> list[Part]:
    """Two folders whose samples have the same keys."""
    for name, count in (("large", 60), ("small", 9)):
        rows = vector_pairs(count, ("a", "b"), seed=len(name))
        pack_pairs(rows, tmp_path / name, shard_samples=20, progress=False)
    return [Part(str(tmp_path / name), "train") for name in ("large", "small")]


def order(parts: list[Part], epoch: int = 0, shares: list[int] | None = None) -> Drawn:
    counts = [part.count for part in parts]
    return pool_order(counts, shares or counts, shuffle=True, seed=1, epoch=epoch)


def test_quotas(two: list[Part]) -> None:
    large, small = two
    assert quotas(two) == [60, 9]
    assert quotas([Part(large.folder, "train", 1.0), Part(small.folder, "train", 2.0)]) == [23, 46]
    assert quotas(two, temperature=1.0) == [60, 9]
    flat = quotas(two, temperature=1e9)
    assert abs(flat[0] - flat[1]) <= 1
    assert quotas([Part(large.folder, "train", 1e9), Part(small.folder, "train", 1.0)]) == [69, 1]
    assert quotas([Part(large.folder, "train", limit=5), small]) == [5, 9]


def test_a_source_wraps_in_new_orders(two: list[Part]) -> None:
    drawn = order(two, shares=[9, 60])
    found = list(read_pool(two, drawn, ["a", "b"], shuffle=100, seed=1))
    turns: dict[int, list[str]] = {}
    for one in found:
        if one.source == 1:
            turns.setdefault(one.turn, []).append(one.sample.key)
    assert len(found) == 69
    assert all(sorted(keys) == sorted(turns[0]) for turn, keys in turns.items() if turn < 6)
    assert len({tuple(keys) for keys in turns.values()}) == 7


@pytest.mark.parametrize("first", [0, 1, 40, 68])
def test_it_goes_on_at_any_place(two: list[Part], first: int) -> None:
    whole = list(read_pool(two, order(two), ["a", "b"], shuffle=10, seed=1))
    rest = list(read_pool(two, order(two), ["a", "b"], shuffle=10, seed=1, first=first))
    assert [one.position for one in rest] == list(range(first, 69))
    for one, other in zip(whole[first:], rest, strict=True):
        assert (one.source, one.sample.key) == (other.source, other.sample.key)
        assert np.array_equal(one.sample.values["a"], other.sample.values["a"])


def test_a_damaged_sample_leaves_its_place_empty(tmp_path: Path, two: list[Part]) -> None:
    whole = [(one.source, one.sample.key) for one in read_pool(two, order(two), ["a", "b"], shuffle=10, seed=1)]
    shard = next((tmp_path / "large").glob("*.tar"))
    shard.write_bytes(shard.read_bytes().replace(b"\x93NUMPY", b"\x93NUMBY", 3))
    bad: list[tuple[int, str]] = []
    found = list(
        read_pool(two, order(two), ["a", "b"], shuffle=10, seed=1, on_bad=lambda n, k, why: bad.append((n, k)))
    )
    assert len(bad) == 2
    assert {n for n, _ in bad} == {0}
    assert [(one.source, one.sample.key) for one in found] == [one for one in whole if one not in bad]
    assert [one.position for one in found] == [n for n, one in enumerate(whole) if one not in bad]


def test_only_what_is_asked_for_is_decoded(two: list[Part]) -> None:
    found = read_pool(two, order(two), ["a", "b"], shuffle=10, seed=1, decode=lambda n, key: ["a"] if n else ["b"])
    assert all(set(one.sample.values) == {"a" if one.source else "b"} for one in found)


def test_stored_places(two: list[Part]) -> None:
    stored = [
        one.sample.key
        for one in read_pool(two[:1], pool_order([60], [60], shuffle=False, seed=1, epoch=0), ["a"], shuffle=0, seed=1)
    ]
    drawn = order(two[:1], epoch=3)
    for one in read_pool(two[:1], drawn, ["a"], shuffle=30, seed=1):
        number = stored_places(two[0], one.turn, 30, 1)[drawn.place[one.position]]
        assert stored[number] == one.sample.key
