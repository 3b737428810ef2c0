"""Several data sets drawn from together: which sample of which comes when, from the sizes and weights alone.

Every source is walked along its own endless order, pass after pass, so that none of its samples comes a second time
before all came once. An epoch of a pool is as many samples as all sources hold together, of which each gives its share
(`quotas`): its own size, or what its weight says. Sources are spread evenly over the epoch, so every batch holds about
their shares.

Note:
    With weights an epoch holds some samples of a small source several times and not all of a large one; those left come
    in the next.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pairalign.data.index import load_index
from pairalign.data.place import ShardPlace
from pairalign.data.reader import RawSample
from pairalign.data.shards import count_samples, plain_rows, read_samples, stream_order


@dataclass(frozen=True)
class Part:
    """One source of a pool: its shard folder, its split, and its weight, if it is not drawn by its size.

    limit: only the first so many samples of the split, in stored order.
    """

    folder: ShardPlace
    split: str
    weight: float | None = None
    limit: int | None = None

    @property
    def count(self) -> int:
        """Samples that it holds."""
        count = count_samples(self.folder, self.split)
        return count if self.limit is None else min(count, self.limit)


class Drawn(NamedTuple):
    """Places of a pool's order: the source's number, which pass over it, and the place in that pass, (N,) each."""

    source: np.ndarray
    turn: np.ndarray
    place: np.ndarray

    def rows(self, chosen: Any) -> Drawn:
        """Some of them."""
        return Drawn(self.source[chosen], self.turn[chosen], self.place[chosen])


class PoolSample(NamedTuple):
    """A sample of a pool: which source it is of, in which pass over that, and its position in the pool's order."""

    source: int
    turn: int
    position: int
    sample: RawSample


def quotas(parts: Sequence[Part], temperature: float | None = None) -> list[int]:
    """Samples that each source gives to an epoch; without weights and temperature its own size, else at least one."""
    counts = [part.count for part in parts]
    if temperature is not None:
        weights = [count ** (1 / temperature) for count in counts]
    elif any(part.weight is not None for part in parts):
        weights = [part.weight or 0.0 for part in parts]
    else:
        return counts
    return [max(1, round(sum(counts) * weight / sum(weights))) for weight in weights]


def pool_order(
    counts: Sequence[int],
    shares: Sequence[int],
    *,
    shuffle: bool,
    seed: int,
    epoch: int,
    stream: int = 0,
    streams: int = 1,
    block: int = 1,
) -> Drawn:
    """What one of `streams` streams reads in an epoch of a pool of sources with `counts` samples, each of which gives
    `shares`; block: as in `stream_order`."""
    source = np.repeat(np.arange(len(shares)), shares)
    nth = np.concatenate([np.arange(share) for share in shares])
    order = np.arange(len(nth))
    if len(shares) > 1:  # one source comes in its own order
        draw = np.random.Generator(np.random.PCG64([seed, epoch, 2]))
        within = draw.uniform(0, 1, len(nth)) if shuffle else 0.5  # evenly spread: one in each part of the epoch
        order = np.argsort((nth + within) / np.asarray(shares)[source], kind="stable")
    order = order[(epoch * len(order) + np.arange(len(order))) // block % streams == stream]
    source, nth = source[order], nth[order] + epoch * np.asarray(shares)[source[order]]
    return Drawn(source, *np.divmod(nth, np.asarray(counts)[source]))


def read_pool(
    parts: Sequence[Part],
    drawn: Drawn,
    modalities: Sequence[str],
    *,
    shuffle: int,
    seed: int,
    first: int = 0,
    decode: Callable[[int, str], Collection[str]] | None = None,
    on_bad: Callable[[int, str, str], None] | None = None,
) -> Iterator[PoolSample]:
    """The samples of a stream's order, from its place `first` on; a damaged one goes to `on_bad`, with its source.

    shuffle, seed: of each source's own order, as in `read_samples`. decode: likewise, given the source, too.
    """
    drawn = drawn.rows(slice(first, None))
    settings = (shuffle, seed, decode, on_bad)
    streams = [_Walk(part, drawn.rows(drawn.source == n), modalities, n, *settings) for n, part in enumerate(parts)]
    try:
        for position, (source, turn, place) in enumerate(plain_rows(np.column_stack(drawn)), start=first):
            sample = streams[source].at(turn, place)
            if sample is not None:
                yield PoolSample(source, turn, position, sample)
    finally:
        for stream in streams:
            stream.samples.close()


class _Walk:
    """One source along its places of the order."""

    def __init__(
        self,
        part: Part,
        drawn: Drawn,
        modalities: Sequence[str],
        number: int,
        shuffle: int,
        seed: int,
        decode: Callable[[int, str], Collection[str]] | None,
        on_bad: Callable[[int, str, str], None] | None,
    ) -> None:
        self.part, self.drawn = part, drawn
        self.options: dict[str, Any] = {"shuffle": shuffle, "seed": seed, "limit": part.limit}
        if decode is not None:
            self.options["decode"] = lambda key: decode(number, key)
        if on_bad is not None:
            self.options["on_bad"] = lambda key, reason: on_bad(number, key, reason)
        self.samples = self._read(modalities)
        self.ahead: tuple[int, RawSample] | None = None

    def at(self, turn: int, place: int) -> RawSample | None:
        """The sample of this place, None if it was damaged."""
        if self.ahead is None:
            self.ahead = next(self.samples, None)
        if self.ahead is None or (self.ahead[0], self.ahead[1].position) != (turn, place):
            return None
        found, self.ahead = self.ahead[1], None
        return found

    def _read(self, modalities: Sequence[str]) -> Generator[tuple[int, RawSample]]:
        for turn in np.unique(self.drawn.turn).tolist():
            take = self.drawn.place[self.drawn.turn == turn]
            where = (self.part.folder, self.part.split, modalities)
            for sample in read_samples(*where, epoch=turn, take=take, **self.options):
                yield turn, sample


def stored_places(part: Part, turn: int, shuffle: int, seed: int) -> np.ndarray:
    """Stored number in the split of each place of one pass over a source."""
    index = load_index(part.folder)
    order = stream_order(index, part.split, shuffle=shuffle, seed=seed, epoch=turn, limit=part.limit)
    before = np.cumsum([0, *(shard.count for shard in index.split(part.split).shards)])
    return before[order[:, 0]] + order[:, 1]
