"""From shards to batches of pairs: preprocess, augment, collate, look up cached anchors.

The order of samples, and every random view, follow from (seed, epoch, key), so a run that was killed goes on with
exactly the batch that it would have seen. Where it bites: a damaged sample is left out, reported by key and counted;
the batch is filled by reading on, never by repeating another sample.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from pairalign.align.cache import AnchorCache
from pairalign.align.model import Side
from pairalign.core.encoder import Encoder
from pairalign.core.errors import DataError, SignalError
from pairalign.data.graph import Edge, edge_name
from pairalign.data.shards import RawSample, read_samples


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

    memory: bytes of preprocessed samples that are kept, so that each is preprocessed only once.
    """

    field: str
    encoder: Encoder
    cache: AnchorCache | None = None
    memory: int = 0
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
            value = self.encoder.view(sample.values[self.field], generator)
            self.encoder.signal.check(value, where)
            return value
        plain = self._preprocessed(sample, where)
        return plain if generator is None else self.encoder.augment(plain, generator)

    def _preprocessed(self, sample: RawSample, where: str) -> Tensor:
        plain = self.kept.get(sample.key)
        if plain is None:
            plain = self.encoder.preprocess(sample.values[self.field])
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

    folder: Path
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
        batch = _Open(self.edge)
        fruitful = epoch = 0
        for epoch, sample in self._samples(worker, workers, batch.bad):
            try:
                pair = {end: self.sides[end].read(sample, self._generator(epoch, sample.key, end)) for end in self.edge}
            except SignalError as error:
                batch.bad.append((sample.key, str(error)))
                self._give_up(batch.bad, epoch > fruitful + 1)
                continue
            fruitful = epoch
            batch.add(sample, pair, [sample.ids[self.sides[end].field] for end in self.edge])
            if len(batch.keys) == self.batch_size:
                yield self._close(batch, Place(worker, epoch, sample.position))
                batch = _Open(self.edge, batch.bad)
                batch.bad.clear()
        if len(batch.keys) > 1:  # a last batch of one has no negatives
            yield self._close(batch, Place(worker, epoch, -1))

    def _samples(self, worker: int, workers: int, bad: list[tuple[str, str]]) -> Iterator[tuple[int, RawSample]]:
        fields = [self.sides[end].field for end in self.edge]
        _, epoch, position = self.places.get(worker, Place(worker, 0, -1))
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
                skip=position + 1,
                on_bad=lambda key, reason: bad.append((key, reason)),
            ):
                given += 1
                yield epoch, sample
            self._give_up(bad, not given and position < 0)
            if not self.train:
                return
            epoch, position = epoch + 1, -1

    def _wanted(self, key: str) -> list[str]:
        return [self.sides[end].field for end in self.edge if self.sides[end].needs_value(key)]

    def _give_up(self, bad: list[tuple[str, str]], hopeless: bool) -> None:
        if hopeless:
            key, reason = bad[0] if bad else ("none", "this process has no shard of the split")
            raise DataError(f"{self}: no sample is usable. First: {key}: {reason}")

    def _generator(self, epoch: int, key: str, modality: str) -> torch.Generator | None:
        if not (self.train and self.augment):
            return None
        digest = hashlib.blake2b(f"{self.seed}/{epoch}/{key}/{modality}".encode(), digest_size=8).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)

    def _close(self, batch: _Open, place: Place) -> PairBatch:
        a, b = (self.sides[end].collate(batch.values[end], batch.ids[end]) for end in self.edge)
        return PairBatch(a, b, batch.keys, list(batch.bad), place)

    def __str__(self) -> str:
        return f"{edge_name(self.edge)} ({self.split} of {self.folder})"


class _Open:
    """A batch that is being filled; `bad` goes on from batch to batch until it is reported."""

    def __init__(self, edge: Edge, bad: list[tuple[str, str]] | None = None) -> None:
        self.values: dict[str, list[Tensor]] = {end: [] for end in edge}
        self.ids: dict[str, list[int]] = {end: [] for end in edge}
        self.keys: list[str] = []
        self.bad: list[tuple[str, str]] = [] if bad is None else bad

    def add(self, sample: RawSample, pair: Mapping[str, Tensor], ids: list[int]) -> None:
        """Append one pair."""
        self.keys.append(sample.key)
        for (end, value), number in zip(pair.items(), ids, strict=True):
            self.values[end].append(value)
            self.ids[end].append(number)
