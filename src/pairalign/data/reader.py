"""One process's open shards: a sample by its place, read at known offsets and decoded.

Note:
    Content ids come from the sample's meta.json when packing wrote them there, so that asking for the id of an
    undecoded modality reads nothing of it; a shard by another writer has none, and then the bytes are read.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pairalign.core.errors import DataError
from pairalign.core.limits import check, parse_json
from pairalign.data.decode import content_id, decode
from pairalign.data.index import ShardInfo
from pairalign.data.place import Remote, ShardPlace
from pairalign.data.tar import Entry, open_shard, scan

if TYPE_CHECKING:
    from pairalign.data.remote.cache import Ahead

OPEN_SHARDS = 64

_SCANNED: dict[tuple[object, ...], Sequence[Entry]] = {}  # the same shard comes back in every epoch


class Field(NamedTuple):
    """A stored field `name` of a sample: which part of its modality, in which format."""

    name: str
    part: str
    extension: str


Wanted = Callable[[str], Collection[str]]  # a sample's key → modalities whose values are decoded


class RawSample(NamedTuple):
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


class BadSampleError(Exception):
    """One damaged sample: its key and what is wrong with it. Stays inside `pairalign.data`."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(reason)
        self.key, self.reason = key, reason


class ShardReader:
    """Reads the samples of `order`, rows of (shard, place), from where the shards are: see `shards_at`.

    A shard is scanned when it is first needed and forgotten after its last sample, and the next is asked for
    meanwhile, of the kernel or over the network, so that whole shards are delivered while samples are decoded.
    """

    def __init__(
        self,
        folder: ShardPlace,
        shards: Sequence[ShardInfo],
        modalities: Sequence[str],
        wanted: Wanted,
        order: np.ndarray,
        raw: bool = False,
    ) -> None:
        self.folder, self.shards, self.modalities, self.wanted = folder, shards, modalities, wanted
        self.raw = raw
        found, first, counts = np.unique(order[:, 0], return_index=True, return_counts=True)
        self.left = dict(zip(found.tolist(), counts.tolist(), strict=True))
        self.needed = found[np.argsort(first)].tolist()
        self.turn = {shard: number for number, shard in enumerate(self.needed)}
        self.ahead: Ahead | None = None
        self.entries: dict[int, Sequence[Entry]] = {}
        self.descriptors: OrderedDict[int, int] = OrderedDict()  # the least recently used is closed first

    def read(self, shard: int, place: int, position: int) -> RawSample:
        """One sample; raise `BadSampleError` if it is damaged, `DataError` if its shard is."""
        if shard not in self.entries and self.distant:  # while this one is fetched
            self._fetch_ahead(self.turn[shard] + 1)
        descriptor = self._descriptor(shard)
        if shard not in self.entries:
            self.entries[shard] = self._scan(shard, descriptor)
            following = self.turn[shard] + 1
            if not self.distant and following < len(self.needed):
                self._descriptor(self.needed[following])
        entry = self.entries[shard][place]
        try:
            return self._read(entry, descriptor, position)
        finally:
            self.left[shard] -= 1
            if not self.left[shard]:
                del self.entries[shard]
                os.close(self.descriptors.pop(shard))

    def close(self) -> None:
        """Close every shard, and fetch no further ones."""
        if self.ahead is not None:
            self.ahead.stop()
        while self.descriptors:
            os.close(self.descriptors.popitem()[1])

    def _descriptor(self, shard: int) -> int:
        if shard in self.descriptors:
            self.descriptors.move_to_end(shard)
            return self.descriptors[shard]
        if len(self.descriptors) >= OPEN_SHARDS:
            os.close(self.descriptors.popitem(last=False)[1])
        self.descriptors[shard] = self._open(self.shards[shard])
        return self.descriptors[shard]

    def _open(self, info: ShardInfo) -> int:
        if not isinstance(self.folder, Remote):
            return open_shard(self.folder / info.name)
        if not self.folder.scheme:
            return open_shard(Path(self.folder.base) / info.name)
        from pairalign.data.remote.cache import open_cached

        return open_cached(self.folder, info)

    @property
    def distant(self) -> bool:
        """Whether shards have to be fetched."""
        return isinstance(self.folder, Remote) and bool(self.folder.scheme)

    def _fetch_ahead(self, turn: int) -> None:
        from pairalign.data.remote.cache import AHEAD, Ahead

        assert isinstance(self.folder, Remote)
        if self.ahead is None or not self.ahead.is_alive():
            self.ahead = Ahead(self.folder, [self.shards[shard] for shard in self.needed[turn : turn + AHEAD]])

    def _scan(self, shard: int, descriptor: int) -> Sequence[Entry]:
        info = self.shards[shard]
        stat = os.fstat(descriptor)
        if stat.st_size < info.bytes:
            raise DataError(
                f"shard {info.name} is truncated: it has {stat.st_size} of {info.bytes} bytes. Copy it again."
            )
        identity: tuple[object, ...] = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if self.distant:  # another file each time that it is fetched, and always of these bytes
            identity = (info.sha256, stat.st_size)
        if identity not in _SCANNED:
            while len(_SCANNED) >= OPEN_SHARDS:
                _SCANNED.pop(next(iter(_SCANNED)))
            _SCANNED[identity] = scan(descriptor, info.name)
        entries = _SCANNED[identity]
        if len(entries) != info.count:
            raise DataError(f"shard {info.name} holds {len(entries)} samples instead of {info.count}: copy it again.")
        return entries

    def _read(self, entry: Entry, descriptor: int, position: int) -> RawSample:
        meta = self._meta(entry, descriptor)
        stored = meta.pop("ids", None)
        known = {n: found for n, found in stored.items() if _is_id(found)} if isinstance(stored, dict) else {}
        values: dict[str, Any] = {}
        ids: dict[str, int] = {}
        wanted = self.wanted(entry.key)
        for modality in self.modalities:
            fields = _fields(tuple(entry.fields), modality)
            if not fields:
                have = sorted({name.partition(".")[0] for name in entry.fields} - {"meta"})
                raise BadSampleError(entry.key, f"has no {modality!r} (it holds {', '.join(have) or 'nothing'}).")
            if modality in wanted:
                values[modality] = self._value(entry, fields, descriptor)
            ids[modality] = known[modality] if modality in known else _id(entry, fields, descriptor)
        return RawSample(entry.key, values, ids, meta, position)

    def _meta(self, entry: Entry, descriptor: int) -> dict[str, Any]:
        where = entry.fields.get("meta.json")
        if where is None:
            return {}
        try:
            meta = parse_json(_stored(descriptor, where))
        except (ValueError, DataError) as error:
            raise BadSampleError(entry.key, f"meta.json is damaged ({error}).") from error
        return meta if isinstance(meta, dict) else {}

    def _value(self, entry: Entry, fields: Sequence[Field], descriptor: int) -> Any:
        parts: dict[str, Any] = {}
        for name, part, extension in fields:
            try:
                data = _stored(descriptor, entry.fields[name])
                value = data if self.raw else decode(extension, data)
            except DataError as error:
                raise BadSampleError(entry.key, f"{name}: {error}") from error
            if part.isdigit():
                parts.setdefault("frames", []).append(value)
            else:
                parts[part or "value"] = value
        return parts["value"] if parts.keys() == {"value"} else parts


def parse_field(name: str) -> tuple[str, Field] | None:
    """The modality of a stored field `<modality>[.<part>].<ext>`, or of webdataset's `<ext>`, which is its own; None
    for any other name. An extension is in small letters, as webdataset has it."""
    pieces = name.split(".")
    extension = pieces[-1].lower()
    if len(pieces) == 1:
        return extension, Field(name, "", extension)
    return (pieces[0], Field(name, ".".join(pieces[1:-1]), extension)) if len(pieces) < 4 else None


@lru_cache(1024)
def _fields(names: tuple[str, ...], modality: str) -> tuple[Field, ...]:
    """A modality's fields among those of a sample, the value first, then parts by name."""
    parsed = (parse_field(name) for name in names)
    found = [one[1] for one in parsed if one is not None and one[0] == modality]
    return tuple(sorted(found, key=lambda field: (int(field.part) if field.part.isdigit() else -1, field.part)))


def _id(entry: Entry, fields: Sequence[Field], descriptor: int) -> int:
    chosen = [f for f in fields if not f.part] or [f for f in fields if f.part.isdigit()] or fields
    try:
        stored = [_stored(descriptor, entry.fields[field.name]) for field in chosen]
    except DataError as error:
        raise BadSampleError(entry.key, str(error)) from error
    return content_id(chosen[0].extension, stored)


def _is_id(found: Any) -> bool:
    """Whether packing wrote this; a stranger's `ids` may mean anything, and then the bytes are read."""
    return type(found) is int and 0 <= found < 2**63


def _stored(descriptor: int, place: tuple[int, int]) -> bytes:
    """The bytes of a member; `DataError` where there are more than one may have, of which a hole costs nothing."""
    offset, size = place
    check("file", size, "the member")
    return os.pread(descriptor, size, offset)
