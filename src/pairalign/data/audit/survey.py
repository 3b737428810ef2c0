"""One pass over a shard folder: every sample is read once, turned into sketches and forgotten.

Note:
    Memory grows by about 1 kB a sample and modality; the pictures that the trivial probes need are kept of at most
    `PROBE` samples, the same ones in every run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from tqdm import tqdm

from pairalign.core.types import Kind
from pairalign.data.audit.sketch import PROBED, Sketch, sketch
from pairalign.data.index import ModalityInfo, ShardIndex, load_index, shards_at
from pairalign.data.kinds import cloud_rows, kind_of, main_value, names_touch
from pairalign.data.place import Remote, ShardPlace, find_place
from pairalign.data.reader import RawSample, ShardReader
from pairalign.data.shards import read_samples, stream_order

PROBE = 8000
GROUPINGS = ("group", "session", "trajectory", "object", "recording", "episode", "sequence", "scene", "subject")


@dataclass
class Column:
    """One modality of all samples.

    kinds: kind of each sample's value. arrays: by name of a sketch's entry, one row a sample, or a row for each of
    the probed samples (`PROBED`). captions: a text for each content id, shortened.
    """

    name: str
    info: ModalityInfo | None
    ids: np.ndarray
    kinds: np.ndarray
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    captions: dict[int, str] = field(default_factory=dict)

    @property
    def kind(self) -> Kind:
        """The kind of most samples."""
        names, counts = np.unique(self.kinds, return_counts=True)
        kind: Kind = str(names[counts.argmax()])  # type: ignore[assignment]
        return kind

    @property
    def tactile(self) -> bool:
        """Whether the name says that a touch sensor made it."""
        return names_touch(self.name)

    def put(self, row: int, probed: int, rows: int, values: Sketch) -> None:
        """Keep a sketch; a value of another length than the first's is cut or filled with zeros."""
        for name, value in values.items():
            at, size = (probed, min(rows, PROBE)) if name in PROBED else (row, rows)
            if at < 0 or at >= size:
                continue
            if name not in self.arrays:
                dtype = np.float16 if name in PROBED and name != "mean" else value.dtype
                self.arrays[name] = np.zeros((size, len(value)), dtype)
            kept = self.arrays[name][at]
            n = min(len(kept), len(value))
            bound = np.finfo(kept.dtype).max if kept.dtype == np.float16 else np.inf
            kept[:n] = np.clip(value[:n], -bound, bound) if kept.dtype.kind == "f" else value[:n]

    def trim(self, rows: int, probed: int) -> None:
        """Forget the places that damaged samples left empty."""
        self.ids, self.kinds = self.ids[:rows], self.kinds[:rows]
        self.arrays = {n: a[: probed if n in PROBED else rows] for n, a in self.arrays.items()}


@dataclass
class Survey:
    """All samples of the surveyed splits.

    split (N,): number of each row's split in `splits`. position (N,): its place in that split. probed (P,): rows whose
    pictures were kept. meta: by name, the values of all rows, None where there is none. bad: (key, reason).
    """

    folder: ShardPlace
    index: ShardIndex
    splits: tuple[str, ...]
    columns: dict[str, Column]
    keys: list[str] = field(default_factory=list)
    split: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int16))
    position: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    probed: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    meta: dict[str, list[str | None]] = field(default_factory=dict)
    bad: list[tuple[str, str]] = field(default_factory=list)

    def names(self, rows: np.ndarray | Sequence[int]) -> tuple[str, ...]:
        """Keys of some rows."""
        return tuple(self.keys[int(row)] for row in rows)

    def rows_of(self, split: int) -> np.ndarray:
        """Rows of one split, by its number."""
        return np.flatnonzero(self.split == split)

    def fetch(self, rows: np.ndarray, modality: str) -> Iterator[Any]:
        """The stored main values of some rows, read again, in the order of `rows`, which must be of one split."""
        if not len(rows):
            return
        name = self.splits[int(self.split[rows[0]])]
        order = stream_order(self.index, name, shuffle=0, seed=0, epoch=0)[self.position[rows]]
        shards = self.index.split(name).shards
        home = shards_at(self.folder, self.index)
        reader = ShardReader(home, shards, (modality,), lambda key: (modality,), order)
        try:
            for shard, place in order.tolist():
                value = main_value(reader.read(shard, place, 0).values[modality])
                info = self.index.modalities[modality]
                yield cloud_rows(value, info) if kind_of(value, info) == "points" else value
        finally:
            reader.close()


def take_survey(
    folder: str | Path | Remote, *, splits: Sequence[str] | None = None, limit: int | None = None, progress: bool = True
) -> Survey:
    """Read every sample of the splits (default all; the first `limit` of each) once."""
    folder = find_place(folder)
    index = load_index(folder)
    names = tuple(sorted(set(splits or index.splits), key=lambda name: (name != "train", name)))
    counts = [min(index.split(name, folder).count, limit or 1 << 62) for name in names]
    total = sum(counts)
    columns = {
        name: Column(name, info, np.zeros(total, np.int64), np.zeros(total, "U6"))
        for name, info in index.modalities.items()
    }
    taken = Survey(folder, index, names, columns)
    taken.split, taken.position = np.zeros(total, np.int16), np.zeros(total, np.int64)
    probed: list[int] = []
    with tqdm(total=total, desc=f"audit {folder.name}", unit="sample", disable=not progress) as bar:
        for number, (name, count) in enumerate(zip(names, counts, strict=True)):
            for sample in _read(taken, name, count, bar):
                _note(taken, sample, number, total, probed)
    _finish(taken, probed)
    return taken


def _read(taken: Survey, split: str, count: int, bar: Any) -> Iterator[RawSample]:
    def note(key: str, reason: str) -> None:
        taken.bad.append((key, reason))
        bar.update()

    for sample in read_samples(taken.folder, split, list(taken.columns), on_bad=note):
        if sample.position >= count:
            return
        yield sample
        bar.update()


def _note(taken: Survey, sample: RawSample, split: int, total: int, probed: list[int]) -> None:
    row = len(taken.keys)
    chosen = total <= PROBE or crc32(sample.key.encode()) / 2**32 < PROBE / total
    if chosen and len(probed) < PROBE:
        probed.append(row)
    place = len(probed) - 1 if probed and probed[-1] == row else -1
    taken.keys.append(sample.key)
    taken.split[row], taken.position[row] = split, sample.position
    _note_meta(taken, sample.meta, row)
    for name, column in taken.columns.items():
        value = sample.values[name]
        kind = kind_of(main_value(value), column.info)
        column.ids[row], column.kinds[row] = sample.ids[name], kind
        column.put(row, place, total, sketch(value, kind, column.info))
        if kind == "text":
            column.captions.setdefault(sample.ids[name], _shortened(str(main_value(value))))


def _shortened(text: str) -> str:
    """At most 120 characters, the last of a longer one among them: what a name ends in tells what it is."""
    return text if len(text) <= 120 else f"{text[:99]}…{text[-20:]}"


def _note_meta(taken: Survey, meta: dict[str, Any], row: int) -> None:
    """Keep labels, one entry a factor, and whatever names a group."""
    label = meta.get("label")
    found = {f"label {k}": v for k, v in label.items()} if isinstance(label, dict) else {"label": label}
    found |= {name: meta[name] for name in GROUPINGS if name in meta}
    for name, value in found.items():
        if value is not None:
            filled = taken.meta.setdefault(name, [])
            filled += [None] * (row - len(filled))
            filled.append(str(value))


def _finish(taken: Survey, probed: list[int]) -> None:
    rows = len(taken.keys)
    taken.split, taken.position = taken.split[:rows], taken.position[:rows]
    taken.probed = np.asarray(probed, np.int64)
    for column in taken.columns.values():
        column.trim(rows, len(probed))
    for values in taken.meta.values():
        values += [None] * (rows - len(values))
