"""Reading pair shards: samples in an order that follows from (seed, epoch), each exactly once over all
processes.

The order is computed first, from the index alone; then each sample costs two reads at known offsets, so
skipping is free and a resumed run goes on exactly. Where it bites: shards are dealt out whole to processes
and their loader workers when there are enough of them, else samples are, so with few shards every worker
opens each of them; streams may differ in length by a shard, or by a sample.
"""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pairalign.data.decode import content_id, decode
from pairalign.data.index import ShardIndex, ShardInfo, load_index
from pairalign.data.tar import Entry, open_shard, scan
from pairalign.errors import DataError

OPEN_SHARDS = 64

OnBad = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class RawSample:
    """One sample as stored.

    values: decoded value by modality; a modality of several parts is a dict with "value", "frames" (list),
        "background", "sensor" and so on, as far as they exist. ids: 63-bit content id by modality. meta:
        label, group, session and whatever else was packed. position: of this sample in the stream;
        `skip=position + 1` goes on after it.
    """

    key: str
    values: dict[str, Any]
    ids: dict[str, int]
    meta: dict[str, Any]
    position: int


def count_samples(folder: str | Path, split: str) -> int:
    """Samples of a split, from the index."""
    return load_index(folder).split(split, folder).count


def read_samples(
    folder: str | Path,
    split: str,
    modalities: Sequence[str],
    *,
    decode: Collection[str] | None = None,
    shuffle: int = 0,
    seed: int = 0,
    epoch: int = 0,
    rank: int = 0,
    world_size: int = 1,
    worker: int = 0,
    workers: int = 1,
    skip: int = 0,
    on_bad: OnBad | None = None,
) -> Iterator[RawSample]:
    """Yield this stream's samples of one pass over a split.

    decode: modalities whose values are wanted; the others get ids only. None decodes all.
    shuffle: 0 keeps the stored order; else shards come in random order and a sample moves by up to `shuffle`
        places; from the size of the split on, it is a full permutation.
    rank, world_size, worker, workers: which of world_size × workers streams this is.
    skip: leave out the first places of the stream's order, damaged samples counted, without reading them.
    on_bad: called with (key, reason) for a damaged sample, which is then left out; without it the sample
    raises. Raises `DataError` for an unknown split or modality, a damaged shard, and damaged samples without
    `on_bad`.
    """
    folder = Path(folder)
    index = load_index(folder)
    index.require(modalities, folder)
    wanted = frozenset(modalities if decode is None else decode)
    stream = rank * workers + worker
    order = stream_order(
        index, split, shuffle=shuffle, seed=seed, epoch=epoch, stream=stream, streams=world_size * workers
    )
    reader = _Reader(folder, index.split(split, folder).shards, modalities, wanted)
    try:
        for position, (shard, place) in enumerate(order[skip:].tolist(), start=skip):
            try:
                entry, descriptor = reader.find(shard, place)
                yield reader.read(entry, descriptor, shard, position)
            except _BadSampleError as bad:
                if on_bad is None:
                    raise DataError(
                        f"shard {reader.shards[shard].name}, sample {bad.key!r}: {bad.reason}"
                    ) from bad
                on_bad(bad.key, bad.reason)
    finally:
        reader.close()


def stream_order(
    index: ShardIndex, split: str, *, shuffle: int, seed: int, epoch: int, stream: int = 0, streams: int = 1
) -> np.ndarray:
    """(N, 2) array of (shard, place in shard) that one of `streams` streams reads, in order."""
    if not 0 <= stream < streams:
        raise DataError(
            f"stream {stream} of {streams}: rank and worker must lie below world_size and workers."
        )
    counts = [shard.count for shard in index.split(split).shards]
    draw = np.random.Generator(np.random.PCG64([seed, epoch])) if shuffle else None
    shards = np.arange(len(counts)) if draw is None else draw.permutation(len(counts))
    by_shard = len(counts) >= streams
    if by_shard:
        shards = shards[stream::streams]
    order = np.concatenate([np.stack([np.full(counts[s], s), np.arange(counts[s])], 1) for s in shards])
    if draw is not None:
        order = order[_jitter(len(order), shuffle, np.random.Generator(np.random.PCG64([seed, epoch, 1])))]
    return order if by_shard else order[stream::streams]


def _jitter(count: int, shuffle: int, draw: np.random.Generator) -> np.ndarray:
    """A permutation that moves an entry by less than `shuffle` places; any permutation if shuffle ≥ count."""
    if shuffle >= count:
        return draw.permutation(count)
    return np.argsort(np.arange(count) + draw.uniform(0, shuffle, count), kind="stable")


class _BadSampleError(Exception):
    def __init__(self, key: str, reason: str) -> None:
        super().__init__(reason)
        self.key, self.reason = key, reason


class _Reader:
    """Open shards with their scanned entries, the least recently used closed first."""

    def __init__(
        self, folder: Path, shards: Sequence[ShardInfo], modalities: Sequence[str], wanted: Collection[str]
    ) -> None:
        self.folder, self.shards, self.modalities, self.wanted = folder, shards, modalities, wanted
        self.open: OrderedDict[int, tuple[int, list[Entry]]] = OrderedDict()

    def find(self, shard: int, place: int) -> tuple[Entry, int]:
        if shard not in self.open:
            self._open(shard)
            if len(self.open) > OPEN_SHARDS:
                os.close(self.open.popitem(last=False)[1][0])
        else:
            self.open.move_to_end(shard)
        descriptor, entries = self.open[shard]
        return entries[place], descriptor

    def _open(self, shard: int) -> None:
        info = self.shards[shard]
        descriptor = open_shard(self.folder / info.name)
        try:
            size = os.fstat(descriptor).st_size
            if size < info.bytes:
                raise DataError(
                    f"shard {info.name} is truncated: {size} of {info.bytes} bytes are there. Copy it again."
                )
            entries = scan(descriptor, info.name)
            if len(entries) != info.count:
                raise DataError(
                    f"shard {info.name} holds {len(entries)} samples instead of {info.count}: copy it again."
                )
        except BaseException:
            os.close(descriptor)
            raise
        self.open[shard] = (descriptor, entries)

    def read(self, entry: Entry, descriptor: int, shard: int, position: int) -> RawSample:
        meta = self._meta(entry, descriptor)
        stored = meta.pop("ids", {})
        values: dict[str, Any] = {}
        ids: dict[str, int] = {}
        for modality in self.modalities:
            fields = _fields(entry, modality)
            if modality in self.wanted:
                values[modality] = self._value(entry, modality, fields, descriptor)
            known = stored.get(modality)
            ids[modality] = known if known is not None else self._id(fields, descriptor)
        return RawSample(entry.key, values, ids, meta, position)

    def _meta(self, entry: Entry, descriptor: int) -> dict[str, Any]:
        where = entry.fields.get("meta.json")
        if where is None:
            return {}
        try:
            meta = json.loads(os.pread(descriptor, where[1], where[0]))
        except ValueError as error:
            raise _BadSampleError(entry.key, f"meta.json is damaged ({error}).") from error
        return meta if isinstance(meta, dict) else {}

    def _value(
        self, entry: Entry, modality: str, fields: list[tuple[str, str, tuple[int, int]]], descriptor: int
    ) -> Any:
        parts: dict[str, Any] = {}
        for part, extension, (offset, size) in fields:
            try:
                value = decode(extension, os.pread(descriptor, size, offset))
            except DataError as error:
                name = ".".join(filter(None, (modality, part, extension)))
                raise _BadSampleError(entry.key, f"{name}: {error}") from error
            if part.isdigit():
                parts.setdefault("frames", []).append(value)
            else:
                parts[part or "value"] = value
        return parts["value"] if parts.keys() == {"value"} else parts

    def _id(self, fields: list[tuple[str, str, tuple[int, int]]], descriptor: int) -> int:
        chosen = [f for f in fields if not f[0]] or [f for f in fields if f[0].isdigit()] or fields
        return content_id(
            chosen[0][1], [os.pread(descriptor, size, offset) for _, _, (offset, size) in chosen]
        )

    def close(self) -> None:
        for descriptor, _ in self.open.values():
            os.close(descriptor)
        self.open.clear()


def _fields(entry: Entry, modality: str) -> list[tuple[str, str, tuple[int, int]]]:
    """(part, extension, (offset, size)) of a modality, the value first, then parts by name."""
    found = []
    for name, where in entry.fields.items():
        pieces = name.split(".")
        if pieces[0] == modality and len(pieces) in (2, 3):
            found.append((pieces[1] if len(pieces) == 3 else "", pieces[-1], where))
    if not found:
        have = sorted({name.split(".")[0] for name in entry.fields} - {"meta"})
        raise _BadSampleError(entry.key, f"has no {modality!r} (it holds {', '.join(have) or 'nothing'}).")
    return sorted(found, key=lambda f: f[0])


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
