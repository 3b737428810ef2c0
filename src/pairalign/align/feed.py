"""From shards to batches of pairs: preprocess, augment, collate, look up cached anchors.

The order of samples, and every random view, follow from (seed, epoch, key), so a run that was killed goes on with
exactly the batch that it would have seen, and n processes see together the batch that one of n times the size would
have seen. Where it bites: a damaged sample is left out, reported by key and counted; a training batch is filled by
reading on, never by repeating another sample; a validation batch stays short, so that its figures do not depend on who
reads what.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from pairalign.align.cache import AnchorCache
from pairalign.align.model import Side
from pairalign.core.encoder import Encoder
from pairalign.core.errors import DataError, SignalError
from pairalign.data.graph import Edge, edge_name
from pairalign.data.place import ShardPlace
from pairalign.data.shards import RawSample, count_samples, read_samples


class Place(NamedTuple):
    """Where a loader worker's stream stood: the epoch, and the position of the last sample that it gave."""

    worker: int
    epoch: int
    position: int


class PairBatch(NamedTuple):
    """Two sides in the order of the edge, the sample keys, (key, reason) of damaged samples met, and where it ended."""

    a: Side
    b: Side
    keys: list[str]
    bad: list[tuple[str, str]]
    place: Place


@dataclass
class SideSource:
    """How one modality is read: its field in the shards, its encoder, and its anchor cache if it is frozen.

    memory: bytes of preprocessed samples that are kept, so that each is preprocessed only once. recorded: what the
    index says of the field, see `Encoder.conform`.
    """

    field: str
    encoder: Encoder
    cache: AnchorCache | None = None
    memory: int = 0
    recorded: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    kept: dict[str, Tensor] = dataclasses.field(default_factory=dict, repr=False)

    def needs_value(self, key: str) -> bool:
        """Whether `read` looks at the stored value of this sample."""
        drawn = type(self.encoder).view is not Encoder.view  # its training views come from the value itself
        return self.cache is None and (drawn or key not in self.kept)

    def read(self, sample: RawSample, generator: torch.Generator | None) -> Tensor:
        """One sample's tensor; with a generator a random training view, without one the plain sample."""
        if self.cache is not None:
            return self.cache.view(sample.key, generator)
        where = f"sample {sample.key!r}, field {self.field!r}"
        if generator is not None and type(self.encoder).view is not Encoder.view:
            value = self.encoder.view(self._raw(sample), generator)
            self.encoder.signal.check(value, where)
            return value
        plain = self._preprocessed(sample, where)
        return plain if generator is None else self.encoder.augment(plain, generator)

    def _raw(self, sample: RawSample) -> Any:
        return self.encoder.conform(sample.values[self.field], self.recorded)

    def _preprocessed(self, sample: RawSample, where: str) -> Tensor:
        plain = self.kept.get(sample.key)
        if plain is None:
            plain = self.encoder.preprocess(self._raw(sample))
            self.encoder.signal.check(plain, where)
            size = plain.numel() * plain.element_size()
            if size <= self.memory:
                self.memory -= size
                self.kept[sample.key] = plain
        return plain

    def collate(self, values: list[Tensor], ids: list[int]) -> Side:
        """Stack one side of a batch."""
        batch = torch.stack(values) if self.cache is not None else self.encoder.collate(values)
        return Side(batch, torch.tensor(ids, dtype=torch.int64), self.cache is not None)


@dataclass
class PairFeed(IterableDataset[PairBatch]):
    """Batches of one edge: endless for training, one pass for validation.

    start: batches of this process that an interrupted run had already used, and `places` where each worker then stood.
    """

    folder: ShardPlace
    split: str
    edge: Edge
    sides: Mapping[str, SideSource]
    batch_size: int
    seed: int = 0
    train: bool = True
    shuffle: int = 1000
    augment: bool = True
    start: int = 0
    places: Mapping[int, Place] = dataclasses.field(default_factory=dict)
    rank: int = 0
    world_size: int = 1

    def __iter__(self) -> Iterator[PairBatch]:
        info = get_worker_info()
        number, workers = (info.id, info.num_workers) if info else (0, 1)
        worker = (number + self.start) % workers  # the loader asks worker 0 first, also after a resume
        batch, bad = _Open(self.edge), list[tuple[str, str]]()
        _, fruitful, position = self.places.get(worker, Place(worker, 0, -1))
        round_trip = self._round_trip(workers)
        for epoch, sample in self._samples(worker, workers, bad):
            if not self.train and sample.position // self.size > position // self.size:
                yield from self._close(batch, bad, Place(worker, epoch, position))
                batch = _Open(self.edge)
            position = sample.position
            try:
                pair = {end: self.sides[end].read(sample, self._generator(epoch, sample.key, end)) for end in self.edge}
            except SignalError as error:
                bad.append((sample.key, str(error)))
                self._give_up(bad, epoch > fruitful + round_trip)
                continue
            fruitful = epoch
            batch.add(sample, pair, [sample.ids[self.sides[end].field] for end in self.edge])
            if self.train and len(batch.keys) == self.size:
                yield from self._close(batch, bad, Place(worker, epoch, position))
                batch = _Open(self.edge)
        yield from self._close(batch, bad, Place(worker, 0, -1))

    def _round_trip(self, workers: int) -> int:
        """Epochs in which every stream has its turn: several where a split is smaller than all their batches."""
        streams = self.world_size * workers
        return 1 + streams * self.batch_size // max(1, count_samples(self.folder, self.split))

    @cached_property
    def size(self) -> int:
        """Samples of a batch; for validation the next size that leaves no last batch of one, which has no negatives."""
        size, count = self.batch_size, count_samples(self.folder, self.split)
        while not self.train and count > 1 and count % size == 1:
            size += 1
        return size

    def _samples(self, worker: int, workers: int, bad: list[tuple[str, str]]) -> Iterator[tuple[int, RawSample]]:
        fields = [self.sides[end].field for end in self.edge]
        _, epoch, position = self.places.get(worker, Place(worker, 0, -1))
        fruitless, round_trip = 0, self._round_trip(workers)
        while True:
            given = 0
            for sample in read_samples(
                self.folder,
                self.split,
                fields,
                decode=self._wanted,
                shuffle=self.shuffle if self.train else 0,
                seed=self.seed,
                epoch=epoch,
                rank=self.rank,
                world_size=self.world_size,
                worker=worker,
                workers=workers,
                block=self.size,
                skip=position + 1,
                on_bad=lambda key, reason: bad.append((key, reason)),
            ):
                given += 1
                yield epoch, sample
            if not self.train:
                return self._give_up(bad, not given and bool(bad))
            fruitless = 0 if given or position >= 0 else fruitless + 1
            self._give_up(bad, fruitless > round_trip)
            epoch, position = epoch + 1, -1

    def _wanted(self, key: str) -> list[str]:
        return [self.sides[end].field for end in self.edge if self.sides[end].needs_value(key)]

    def _give_up(self, bad: list[tuple[str, str]], hopeless: bool) -> None:
        if hopeless:
            key, reason = bad[0] if bad else ("none", "the split is empty")
            raise DataError(f"{self}: no sample is usable. First: {key}: {reason}")

    def _generator(self, epoch: int, key: str, modality: str) -> torch.Generator | None:
        if not (self.train and self.augment):
            return None
        digest = hashlib.blake2b(f"{self.seed}/{epoch}/{key}/{modality}".encode(), digest_size=8).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)

    def _close(self, batch: _Open, bad: list[tuple[str, str]], place: Place) -> Iterator[PairBatch]:
        """The batch with the damaged samples met so far; none of one pair, which has no negatives."""
        if len(batch.keys) < 2:
            return
        a, b = (self.sides[end].collate(batch.values[end], batch.ids[end]) for end in self.edge)
        yield PairBatch(a, b, batch.keys, list(bad), place)
        bad.clear()

    def __str__(self) -> str:
        return f"{edge_name(self.edge)} ({self.split} of {self.folder})"


class _Open:
    """A batch that is being filled."""

    def __init__(self, edge: Edge) -> None:
        self.values: dict[str, list[Tensor]] = {end: [] for end in edge}
        self.ids: dict[str, list[int]] = {end: [] for end in edge}
        self.keys: list[str] = []

    def add(self, sample: RawSample, pair: Mapping[str, Tensor], ids: list[int]) -> None:
        """Append one pair."""
        self.keys.append(sample.key)
        for (end, value), number in zip(pair.items(), ids, strict=True):
            self.values[end].append(value)
            self.ids[end].append(number)
