"""From shards to batches of pairs: preprocess, augment, collate, look up cached anchors.

The order of samples, and every random view, follow from (seed, epoch, key), so a run that was killed goes on with
exactly the batch that it would have seen, and n processes see together the batch that one of n times the size would
have seen. Edges over the same shards share one `PairDataset`: a sample is read and preprocessed once for all of them.

Note:
    A damaged sample is left out, reported by key and counted; a training batch is filled by reading on, never by
    repeating another sample; a validation batch stays short and is of one source, so that its figures do not depend on
    who reads what.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from pairalign.align.pair_batch import OpenBatch, PairBatch, Place
from pairalign.align.side_source import SideSource
from pairalign.core.errors import DataError, SignalError
from pairalign.data.captions import draw_place
from pairalign.data.graph import Edge, edge_name
from pairalign.data.index import load_index
from pairalign.data.place import ShardPlace
from pairalign.data.pool import Drawn, Part, PoolSample, pool_order, quotas, read_pool


@dataclass
class DatasetSource:
    """One source of a dataset: its split of a shard folder, and how each modality is read there.

    weight: share of the samples drawn, None by size. name: what figures call it.
    """

    folder: ShardPlace
    split: str
    sides: Mapping[str, SideSource]
    name: str = ""
    weight: float | None = None

    @property
    def part(self) -> Part:
        """It, as one source of a pool."""
        return Part(self.folder, self.split, self.weight)


@dataclass
class PairDataset(IterableDataset[PairBatch]):
    """Batches of the edges over one pool of data sets: endless for training, one pass for validation.

    start: batches of this process that an interrupted run had already used, and `places` where each worker then stood.
    temperature: of drawing by size, see `EdgeConfig`.
    """

    sources: Sequence[DatasetSource]
    edges: Sequence[Edge]
    batch_size: int
    seed: int = 0
    train: bool = True
    shuffle: int = 1000
    augment: bool = True
    start: int = 0
    places: Mapping[int, Place] = dataclasses.field(default_factory=dict)
    rank: int = 0
    world_size: int = 1
    temperature: float | None = None

    @cached_property
    def ends(self) -> tuple[str, ...]:
        """The modalities of all edges."""
        return tuple(dict.fromkeys(end for edge in self.edges for end in edge))

    @cached_property
    def parts(self) -> list[Part]:
        """The data sets as a pool."""
        return [source.part for source in self.sources]

    @cached_property
    def counts(self) -> list[int]:
        """Samples of each source."""
        return [part.count for part in self.parts]

    @cached_property
    def contents(self) -> list[str]:
        """What each source holds, by the hashes of its shards."""
        return [load_index(part.folder).digest(part.split) for part in self.parts]

    @cached_property
    def shares(self) -> list[int]:
        """Samples of each source in an epoch."""
        return quotas(self.parts, self.temperature) if self.train else self.counts

    def __iter__(self) -> Iterator[PairBatch]:
        info = get_worker_info()
        number, workers = (info.id, info.num_workers) if info else (0, 1)
        worker = (number + self.start) % workers  # the loader asks worker 0 first, also after a resume
        bad = list[tuple[str, str]]()
        stream = worker * self.world_size + self.rank  # workers take turns by batches
        if self.train:
            yield from self._training(worker, stream, workers, bad)
        else:
            yield from self._validation(worker, stream, workers, bad)

    def _training(self, worker: int, stream: int, workers: int, bad: list[tuple[str, str]]) -> Iterator[PairBatch]:
        batch = OpenBatch(self.ends)
        _, epoch, position = self.places.get(worker, Place(worker, 0, -1))
        fruitful, fruitless, streams = epoch, 0, self.world_size * workers
        patience = 1 + streams * self.batch_size // max(1, sum(self.shares))  # epochs until each stream has its turn
        while True:
            drawn = pool_order(
                self.counts,
                self.shares,
                shuffle=self.shuffle > 0,
                seed=self.seed,
                epoch=epoch,
                stream=stream,
                streams=streams,
                block=self.batch_size,
            )
            given = 0
            for found in self._read(range(len(self.sources)), drawn, position + 1, bad):
                given, position = given + 1, found.position
                if not self._add(batch, found, bad):
                    self._give_up(bad, epoch > fruitful + patience)
                    continue
                fruitful = epoch
                if len(batch.keys) == self.batch_size:
                    yield from self._close(batch, bad, Place(worker, epoch, position))
                    batch = OpenBatch(self.ends)
            fruitless = 0 if given or position >= 0 else fruitless + 1
            self._give_up(bad, fruitless > patience)
            epoch, position = epoch + 1, -1

    def _validation(self, worker: int, stream: int, workers: int, bad: list[tuple[str, str]]) -> Iterator[PairBatch]:
        given, streams = 0, self.world_size * workers
        for number, count in enumerate(self.counts):
            size = self._validation_size(count)
            mine = {"stream": stream, "streams": streams, "block": size}
            drawn = pool_order([count], [count], shuffle=False, seed=self.seed, epoch=0, **mine)
            batch, position = OpenBatch(self.ends), -1
            for found in self._read([number], drawn, 0, bad):
                if found.position // size > position // size:
                    yield from self._close(batch, bad, Place(worker, 0, position))
                    batch = OpenBatch(self.ends)
                given, position = given + 1, found.position
                self._add(batch, found, bad)
            yield from self._close(batch, bad, Place(worker, 0, position))
        self._give_up(bad, not given and bool(bad))

    def _validation_size(self, count: int) -> int:
        """Samples of a batch: the next size that leaves no last batch of one, which has no negatives."""
        size = self.batch_size
        while count > 1 and count % size == 1:
            size += 1
        return size

    def _read(
        self, numbers: Sequence[int], drawn: Drawn, first: int, bad: list[tuple[str, str]]
    ) -> Iterator[PoolSample]:
        """Samples of the sources `numbers`, which `drawn` counts from 0."""
        self._check_unchanged(numbers)
        fields = [[self.sources[n].sides[end].field for end in self.ends] for n in numbers]

        def wanted(which: int, key: str) -> list[str]:
            sides = self.sources[numbers[which]].sides
            return [sides[end].field for end in self.ends if sides[end].needs_value(key)]

        found = read_pool(
            [self.parts[n] for n in numbers],
            drawn,
            fields[0],
            shuffle=self.shuffle if self.train else 0,
            seed=self.seed,
            first=first,
            decode=wanted,
            on_bad=lambda which, key, reason: bad.append((self._name(numbers[which], key), reason)),
        )
        return (sample._replace(source=numbers[sample.source]) for sample in found)

    def _check_unchanged(self, numbers: Sequence[int]) -> None:
        for n in numbers:
            part = self.parts[n]
            if load_index(part.folder).digest(part.split) != self.contents[n]:
                raise DataError(
                    f"{str(part.folder)!r}, split {part.split!r}, was packed anew while the run was reading it: "
                    "train on one that stays, or start over with --fresh."
                )

    def _add(self, batch: OpenBatch, found: PoolSample, bad: list[tuple[str, str]]) -> bool:
        """Put a sample into the batch; whether it was whole."""
        source, sample, name = self.sources[found.source], found.sample, self._name(found.source, found.sample.key)
        view = sample.key if len(self.sources) == 1 else f"{found.source}/{sample.key}"  # whatever the source is called
        place = draw_place(self.seed, found.turn, view) if self.train else 0
        sides, ids = dict[str, Tensor](), dict[str, int]()
        try:
            for end in self.ends:
                sides[end] = source.sides[end].read(sample, self._generator(found.turn, view, end), place)
                ids[end] = source.sides[end].content(sample, place)
        except SignalError as error:
            bad.append((name, str(error)))
            return False
        batch.keys.append(name)
        batch.sources.append(found.source)
        for end, value in sides.items():
            batch.values[end].append(value)
            batch.ids[end].append(ids[end])
        return True

    def _name(self, source: int, key: str) -> str:
        """A sample's name in this dataset: two sources may have the same keys."""
        return key if len(self.sources) == 1 else f"{self.sources[source].name}/{key}"

    def _give_up(self, bad: list[tuple[str, str]], hopeless: bool) -> None:
        if hopeless:
            key, reason = bad[0] if bad else ("none", "the split is empty")
            raise DataError(f"{self}: no sample is usable. First: {key}: {reason}")

    def _generator(self, epoch: int, sample: str, modality: str) -> torch.Generator | None:
        if not (self.train and self.augment):
            return None
        digest = hashlib.blake2b(f"{self.seed}/{epoch}/{sample}/{modality}".encode(), digest_size=8).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)

    def _close(self, batch: OpenBatch, bad: list[tuple[str, str]], place: Place) -> Iterator[PairBatch]:
        """The batch with the damaged samples met so far; none of one pair, which has no negatives."""
        if len(batch.keys) < 2:
            return
        sides = {end: self.sources[0].sides[end].collate(batch.values[end], batch.ids[end]) for end in self.ends}
        yield PairBatch(sides, batch.keys, batch.sources, list(bad), place)
        bad.clear()

    def __str__(self) -> str:
        where = ", ".join(f"{source.split} of {source.folder}" for source in self.sources)
        return f"{', '.join(map(edge_name, self.edges))} ({where})"


PairFeed = PairDataset  # earlier name
FeedSource = DatasetSource  # earlier name
