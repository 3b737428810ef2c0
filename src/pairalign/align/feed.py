"""From shards to batches of pairs: preprocess, augment, collate, look up cached anchors.

The order of samples, and every random view, follow from (seed, epoch, key), so a run that was killed goes on with
exactly the batch that it would have seen. Where it bites: a damaged sample is left out, reported by key and counted;
the batch is filled by reading on, never by repeating another sample.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from pairalign.align.cache import AnchorCache
from pairalign.align.model import Side
from pairalign.data.graph import Edge, edge_name
from pairalign.data.shards import RawSample, read_samples
from pairalign.encoder import Encoder
from pairalign.errors import DataError, SignalError


class PairBatch(NamedTuple):
    """Two sides in the order of the edge, the sample keys, and (key, reason) of damaged samples met on the way."""

    a: Side
    b: Side
    keys: list[str]
    bad: list[tuple[str, str]]


@dataclass(frozen=True)
class SideSource:
    """How one modality is read: its field in the shards, its encoder, and its anchor cache if it is frozen."""

    field: str
    encoder: Encoder
    cache: AnchorCache | None = None

    def read(self, sample: RawSample, generator: torch.Generator | None) -> Tensor:
        """One sample's tensor; with a generator a random training view, without one the plain sample."""
        if self.cache is not None:
            return self.cache.view(sample.key, generator)
        raw = sample.values[self.field]
        value = self.encoder.preprocess(raw) if generator is None else self.encoder.view(raw, generator)
        self.encoder.signal.check(value, f"sample {sample.key!r}, field {self.field!r}")
        return value

    def collate(self, values: list[Tensor], ids: list[int]) -> Side:
        """Stack one side of a batch."""
        batch = torch.stack(values) if self.cache is not None else self.encoder.collate(values)
        return Side(batch, torch.tensor(ids, dtype=torch.int64), self.cache is not None)


@dataclass
class PairFeed(IterableDataset[PairBatch]):
    """Batches of one edge: endless for training, one pass for validation.

    start: batches of this process that an interrupted run had already seen. known_bad: keys that it had found
    damaged, so that skipping counts as reading did.
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
    known_bad: Collection[str] = field(default_factory=frozenset)
    rank: int = 0
    world_size: int = 1

    def __iter__(self) -> Iterator[PairBatch]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        skip = max(0, -(-(self.start - worker) // workers)) * self.batch_size
        return self._batches(worker, workers, skip)

    def _batches(self, worker: int, workers: int, skip: int) -> Iterator[PairBatch]:
        values: dict[str, list[Tensor]] = {end: [] for end in self.edge}
        ids: dict[str, list[int]] = {end: [] for end in self.edge}
        keys: list[str] = []
        bad: list[tuple[str, str]] = []
        fruitful = 0
        for epoch, sample in self._samples(worker, workers, skip, bad):
            try:
                pair = {end: self.sides[end].read(sample, self._generator(epoch, sample.key, end)) for end in self.edge}
            except SignalError as error:
                bad.append((sample.key, str(error)))
                if epoch > fruitful + 1:
                    raise DataError(f"{self}: no sample is usable. First: {bad[0][0]}: {bad[0][1]}") from error
                continue
            fruitful = epoch
            keys.append(sample.key)
            for end in self.edge:
                values[end].append(pair[end])
                ids[end].append(sample.ids[self.sides[end].field])
            if len(keys) == self.batch_size:
                yield self._collate(values, ids, keys, bad)
                values, ids = {end: [] for end in self.edge}, {end: [] for end in self.edge}
                keys = []
                bad.clear()
        if len(keys) > 1 or bad:  # a last batch of one has no negatives
            yield self._collate(values, ids, keys, bad)

    def _samples(
        self, worker: int, workers: int, skip: int, bad: list[tuple[str, str]]
    ) -> Iterator[tuple[int, RawSample]]:
        epoch, fields = 0, [self.sides[end].field for end in self.edge]
        decode = [self.sides[end].field for end in self.edge if self.sides[end].cache is None]
        while True:
            share = {"rank": self.rank, "world_size": self.world_size, "worker": worker, "workers": workers}
            order = {"shuffle": self.shuffle if self.train else 0, "seed": self.seed, "epoch": epoch}
            offset, seen = 0, 0
            if skip:
                for sample in read_samples(self.folder, self.split, fields, decode=[], **order, **share):
                    offset += 1
                    skip -= sample.key not in self.known_bad
                    if not skip:
                        break
            if not skip:
                samples = read_samples(
                    self.folder,
                    self.split,
                    fields,
                    decode=decode,
                    skip=offset,
                    on_bad=lambda key, reason: bad.append((key, reason)),
                    **order,
                    **share,
                )
                for sample in samples:
                    seen += 1
                    yield epoch, sample
            if not self.train or not (seen or offset):
                return
            epoch += 1

    def _generator(self, epoch: int, key: str, modality: str) -> torch.Generator | None:
        if not (self.train and self.augment):
            return None
        digest = hashlib.blake2b(f"{self.seed}/{epoch}/{key}/{modality}".encode(), digest_size=8).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)

    def _collate(
        self, values: dict[str, list[Tensor]], ids: dict[str, list[int]], keys: list[str], bad: list[tuple[str, str]]
    ) -> PairBatch:
        a, b = (self.sides[end].collate(values[end], ids[end]) for end in self.edge)
        return PairBatch(a, b, keys, list(bad))

    def __str__(self) -> str:
        return f"{edge_name(self.edge)} ({self.split} of {self.folder})"
