"""Reading pair shards: samples in an order that follows from (seed, epoch), each exactly once over all
processes.

The order is computed first, from the index alone; then each sample costs two reads at known offsets, so
skipping is free and a resumed run goes on exactly.

Note:
    With `block`, what processes and loader workers read at the same time is what one process would have read then, so
    training does not depend on their number, but each of them opens every shard; without it shards are dealt out whole
    when there are enough of them, else samples are, and streams may differ in length by a shard, or by a sample.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from pairalign.core.errors import DataError
from pairalign.data.index import ShardIndex, ShardInfo, load_index, shards_at
from pairalign.data.place import Remote, ShardPlace, find_place
from pairalign.data.reader import BadSampleError, RawSample, ShardReader, Wanted
from pairalign.files import sha256_file

OnBad = Callable[[str, str], None]
Arrange = Callable[[np.ndarray, int], np.ndarray]
"""An epoch's whole order, rows of (shard, place in shard), and its number → the order that is taken instead."""


def count_samples(folder: str | Path | Remote, split: str) -> int:
    """Samples of a split, from the index."""
    return load_index(folder).split(split, folder).count


def read_samples(
    folder: str | Path | Remote,
    split: str,
    modalities: Sequence[str],
    *,
    decode: Collection[str] | Wanted | None = None,
    raw: bool = False,
    shuffle: int = 0,
    seed: int = 0,
    epoch: int = 0,
    rank: int = 0,
    world_size: int = 1,
    worker: int = 0,
    workers: int = 1,
    block: int | Sequence[int] | None = None,
    skip: int = 0,
    limit: int | None = None,
    take: np.ndarray | None = None,
    arrange: Arrange | None = None,
    on_bad: OnBad | None = None,
) -> Iterator[RawSample]:
    """Yield this stream's samples of one pass over a split.

    folder: a folder or an address, see `find_place`; the same shards give the same samples from either.
    decode: modalities whose values are wanted, or a function that names them for a sample's key; the others get ids
        only. None decodes all.
    raw: give the stored bytes instead of decoded values.
    shuffle: 0 keeps the stored order; else shards come in random order and a sample moves by up to `shuffle`
        places; from the size of the split on, it is a full permutation.
    rank, world_size, worker, workers: which of world_size × workers streams this is. block, arrange: see
        `stream_order`.
    limit: only the first so many samples of the split, in stored order; None for all.
    skip: leave out the first places of the stream's order, damaged samples counted, without reading them.
    take: read these rising places of the stream's order and nothing else, as a pool of several folders takes them.
    on_bad: called with (key, reason) for a damaged sample, which is then left out; without it the sample
    raises. Raises `DataError` for an unknown split or modality, a damaged shard, and damaged samples without
    `on_bad`.
    """
    folder = find_place(folder)
    index = load_index(folder)
    index.require(modalities, folder)
    named = modalities if decode is None or callable(decode) else decode
    if not set(named) <= set(modalities):
        raise DataError(f"decode={sorted(named)}: every one must be among modalities={list(modalities)}.")
    wanted = decode if callable(decode) else lambda key: named
    stream = rank * workers + worker if block is None else worker * world_size + rank  # workers take turns by batches
    options: dict[str, Any] = {"stream": stream, "streams": world_size * workers, "block": block, "limit": limit}
    options["arrange"] = arrange
    order = stream_order(index, split, shuffle=shuffle, seed=seed, epoch=epoch, **options)
    home, shards = shards_at(folder, index), index.split(split, folder).shards
    places = np.arange(skip, len(order)) if take is None else take
    reader = ShardReader(home, shards, modalities, wanted, order[places], raw)
    try:
        for position, shard, place in plain_rows(np.column_stack([places, order[places]])):
            try:
                sample = reader.read(shard, place, position)
            except BadSampleError as bad:
                if on_bad is None:
                    where = f"shard {reader.shards[shard].name}, sample {bad.key!r}"
                    raise DataError(f"{where}: {bad.reason}") from bad
                on_bad(bad.key, bad.reason)
                continue
            yield sample
    finally:
        reader.close()


def plain_rows(order: np.ndarray, most: int = 4096) -> Iterator[list[int]]:
    """The rows as plain numbers, made when they are needed: those of millions of samples take a while."""
    for start in range(0, len(order), most):
        yield from order[start : start + most].tolist()


def stream_order(
    index: ShardIndex,
    split: str,
    *,
    shuffle: int,
    seed: int,
    epoch: int,
    stream: int = 0,
    streams: int = 1,
    block: int | Sequence[int] | None = None,
    limit: int | None = None,
    arrange: Arrange | None = None,
) -> np.ndarray:
    """(N, 2) array of (shard, place in shard) that one of `streams` streams reads, in order; see `read_samples`.

    block: deal out blocks of so many samples, in turns, along the order of one stream over all epochs one after the
        other: the n-th blocks of all streams together are the n-th stretch of that order; several sizes, 0 among them,
        are those of the turns one after the other, over and over. None deals out shards.
    arrange: puts the order of all streams into another one before it is dealt out; only with `block`.
    """
    if not 0 <= stream < streams:
        raise DataError(f"stream {stream} of {streams}: rank and worker must lie below world_size and workers.")
    counts = _first([shard.count for shard in index.split(split).shards], limit)
    draw = np.random.Generator(np.random.PCG64([seed, epoch])) if shuffle else None
    shards = np.arange(len(counts)) if draw is None else draw.permutation(len(counts))
    by_shard = block is None and len(counts) >= streams
    if by_shard:
        shards = shards[stream::streams]
    sizes = np.array(counts, np.int64)[shards]
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    order = np.stack([np.repeat(shards, sizes), np.arange(int(sizes.sum())) - starts], 1)
    if draw is not None:
        order = order[_jitter(len(order), shuffle, np.random.Generator(np.random.PCG64([seed, epoch, 1])))]
    if arrange is not None:
        order = arrange(order, epoch)
    if block is not None:
        return order[_turns(epoch * len(order) + np.arange(len(order)), block) % streams == stream]
    return order if by_shard else order[stream::streams]


def _turns(places: np.ndarray, block: int | Sequence[int]) -> np.ndarray:
    """The number of the turn in which each place of an order without end is dealt out."""
    sizes = np.atleast_1d(block)
    ends = np.cumsum(sizes)
    rounds, within = np.divmod(places, ends[-1])
    return rounds * len(sizes) + np.searchsorted(ends, within, side="right")


def _first(counts: list[int], limit: int | None) -> list[int]:
    """Samples of each shard, up to `limit` over all of them; shards beyond it are left out."""
    if limit is None:
        return counts
    before = [0, *accumulate(counts)]
    return [min(count, limit - start) for count, start in zip(counts, before, strict=False) if start < limit]


def _jitter(count: int, shuffle: int, draw: np.random.Generator) -> np.ndarray:
    """A permutation that moves an entry by less than `shuffle` places; any permutation if shuffle ≥ count."""
    if shuffle >= count:
        return draw.permutation(count)
    return np.argsort(np.arange(count) + draw.uniform(0, shuffle, count), kind="stable")


@dataclass
class BadSamples:
    """Counts damaged samples: call it as `on_bad`; `check` raises when more than `limit_fraction` were
    damaged.
    """

    limit_fraction: float
    keys: dict[str, str] = field(default_factory=dict)

    def __call__(self, key: str, reason: str) -> None:
        """Note one damaged sample."""
        self.keys[key] = reason

    def check(self, total: int, where: str = "the data") -> None:
        """Raise `DataError` with the keys if more than the tolerated share of `total` samples was damaged."""
        if len(self.keys) > self.limit_fraction * total:
            shown = "; ".join(f"{key}: {reason}" for key, reason in list(self.keys.items())[:5])
            more = f"; and {len(self.keys) - 5} more" if len(self.keys) > 5 else ""
            raise DataError(
                f"{where}: {len(self.keys)} of {total} samples are damaged, more than the tolerated share "
                f"{self.limit_fraction:g}: {shown}{more}. Repair or drop them, or raise data.bad_fraction."
            )


def damaged_shards(folder: str | Path | Remote) -> dict[str, str]:
    """Name and reason of every shard whose bytes are not those that were packed; reads all of them."""
    found: dict[str, str] = {}
    index = load_index(folder)
    home = shards_at(folder, index)
    for split in index.splits.values():
        for shard in split.shards:
            if reason := _damage(home, shard):
                found[shard.name] = reason
    return found


def _damage(home: ShardPlace, shard: ShardInfo) -> str | None:
    if isinstance(home, Remote) and home.scheme:
        from pairalign.data.remote.cache import fetch

        try:
            fetch(home, shard)
        except DataError as error:
            return str(error)
        return None
    folder = Path(home.base) if isinstance(home, Remote) else home
    try:
        digest = sha256_file(folder / shard.name)
    except OSError as error:
        return f"is missing or cannot be read ({error.strerror})."
    return None if digest == shard.sha256 else "its SHA-256 is not that of the index."
