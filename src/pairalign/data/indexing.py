"""An index for shards that webdataset or another tool wrote: what is inside, found by reading all of it once.

A sample's key ends at the first dot of a member's name, as webdataset has it, and what follows is a field: `image.jpg`
is the modality `image`; of plain `jpg`, as webdataset's own writer leaves it, the extension is the modality. Where it
bites: shards say neither unit nor rate nor split; the split is taken from the file's name, the others are what the
caller says. A field that has no decoder is left out, and said.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pairalign.core.errors import DataError
from pairalign.core.limits import check, parse_json
from pairalign.core.secrets import hide
from pairalign.core.trust import trust
from pairalign.data.decode import DECODERS
from pairalign.data.index import INDEX_NAME, ShardIndex, index_bytes, load_index, save_index
from pairalign.data.place import Remote, ShardPlace, find_place
from pairalign.data.reader import parse_field
from pairalign.data.rows import check_split
from pairalign.data.summary import condensed, summarise
from pairalign.data.tar import Entry, open_shard, scan
from pairalign.data.write import RECORDS, describe_stored, label_names, merge_one
from pairalign.files import sha256_file
from pairalign.runs.lock import alone

_WORDS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val"}
_WORDS |= {"test": "test", "testing": "test"}


@dataclass
class Indexed:
    """What indexing found. bad: (key, reason) of samples that cannot be read. left_out: samples by field without a
    decoder. path: where the index is."""

    index: ShardIndex
    path: str
    samples: Counter[str] = field(default_factory=Counter)
    bad: list[tuple[str, str]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def index_shards(
    shards: str | Path | Remote,
    *,
    out: str | Path | None = None,
    splits: Mapping[str, str] | None = None,
    units: Mapping[str, Mapping[str, Any]] | None = None,
    overwrite: bool = False,
    progress: bool = True,
    licence: str | None = None,
    origin: str | None = None,
    synthetic: bool = False,
) -> Indexed:
    """Read every shard of a place once and write its index.

    shards: a folder, an address, or the shards with braces. out: a local folder for the index, where that of the shards
        cannot be written; it is then what is given as shards.
    splits: pattern of shard names by split, as {"train": "cc3m-*"}; None takes the split that a packed sample names,
        else the word in the shard's name (train, val, test), else "train".
    units: as in `pack_pairs`.
    Raises `DataError` where there are no shards, or an index that `overwrite` does not replace.
    """
    place = find_place(shards)
    local = place if isinstance(place, Path) else None if place.scheme else Path(place.base)
    where = local if out is None else Path(out)
    with alone(where) if where is not None else nullcontext():
        return _index(place, out, splits, units, overwrite, progress, (licence, origin, synthetic))


def _index(
    place: ShardPlace,
    out: str | Path | None,
    splits: Mapping[str, str] | None,
    units: Mapping[str, Mapping[str, Any]] | None,
    overwrite: bool,
    progress: bool,
    about: tuple[str | None, str | None, bool],
) -> Indexed:
    _check(place, out, overwrite)
    names = _names(place)
    found = Indexed(ShardIndex({}, {}, ""), "")
    records = []
    for name in tqdm(names, desc=f"index {place.name}", unit="shard", disable=not progress):
        split, record = _read(place, name, splits, found)
        records.append((split, name, condensed(split, record)))
    known = {name for _, _, record in records for name in record["stats"]}
    for name in units or {}:
        if name not in known:
            raise DataError(f"units name {name!r}, which the shards do not hold: they hold {', '.join(sorted(known))}.")
    described = dict(zip(("licence", "source", "synthetic"), about, strict=True))
    found.index = summarise(records, [], units or {}, described)
    _write(found, place, out)
    return found


def _check(place: ShardPlace, out: str | Path | None, overwrite: bool) -> None:
    if isinstance(place, Remote) and place.scheme == "pipe":
        raise DataError(f"{str(place)!r}: a command cannot be indexed: give the folder or address that it reads.")
    if out is not None:
        if isinstance(place, Remote) and hide(place.base) + place.query != place.base:
            raise DataError(f"{str(place)!r} holds credentials, which no index may keep: give them by the environment.")
        there: bool = (Path(out) / INDEX_NAME).exists()
    elif isinstance(place, Remote) and place.scheme:
        from pairalign.data.remote.upload import WRITABLE, size_at

        if place.scheme not in WRITABLE:
            raise DataError(f"{str(place)!r} cannot be written: give a folder for its index with --out (`out`).")
        there = size_at(place, INDEX_NAME) is not None
    else:
        folder = Path(place.base) if isinstance(place, Remote) else place
        if (folder / RECORDS).exists():
            raise DataError(f"{str(folder)!r} is a pack that never finished: run `pairalign data pack` again.")
        there = (folder / INDEX_NAME).exists()
    if there and not overwrite:
        raise DataError(f"{str(place)!r} has an index already: overwrite it, or write another one with --out (`out`).")


def _names(place: ShardPlace) -> list[str]:
    if isinstance(place, Remote) and place.names:
        return list(place.names)
    if not isinstance(place, Remote):
        found = sorted(path.relative_to(place).as_posix() for path in place.rglob("*.tar") if path.is_file())
    elif place.scheme in ("http", "https"):
        raise DataError(
            f"{str(place)!r}: a web server does not list its files: name the shards, as train-{{000..099}}.tar."
        )
    else:
        from pairalign.data.remote.opening import listing
        from pairalign.data.remote.transfer import again

        found = [name for name in again(place.base, lambda: listing(place.base)) if name.endswith(".tar")]
    if not found:
        raise DataError(f"{str(place)!r} holds no shards (no .tar file).")
    return found


def _read(place: ShardPlace, name: str, splits: Mapping[str, str] | None, found: Indexed) -> tuple[str, dict[str, Any]]:
    """The split and the record of one shard, as packing would have written it."""
    if isinstance(place, Remote) and place.scheme:
        from pairalign.data.remote.cache import adopt

        path, digest = adopt(place, name)
    else:
        path = (Path(place.base) if isinstance(place, Remote) else place) / name
        digest = sha256_file(path)
    descriptor = open_shard(path)
    try:
        entries = scan(descriptor, name)
        record: dict[str, Any] = {"bad": [], "ids": {}, "stats": {}, "samples": [], "splits": {}}
        labels: set[str] = set()
        split = None
        for number, entry in enumerate(entries):
            meta = _sample(entry, lambda at, size: os.pread(descriptor, size, at), record, found)
            labels |= label_names(meta.get("label"))
            if not number:
                split = _split_of(name, splits, meta)
                record["splits"] = _split_sets_of(meta)
        told = {
            "count": len(entries),
            "labels": sorted(labels),
            "sha256": digest,
            "bytes": os.fstat(descriptor).st_size,
        }
    finally:
        os.close(descriptor)
    return split or _split_of(name, splits, {}), record | told


def _sample(entry: Entry, read: Callable[[int, int], bytes], record: dict[str, Any], found: Indexed) -> dict[str, Any]:
    """Add one sample to its shard's record; return its meta."""
    digests, meta = {}, {}
    seen: set[str] = set()
    for name, (offset, size) in entry.fields.items():
        check("file", size, f"shard member {name!r}")
        data = read(offset, size)
        digests[name] = hashlib.sha256(data).digest()
        if name == "meta.json":
            try:
                meta = _meta(data)
            except (ValueError, DataError) as error:
                found.bad.append((entry.key, f"meta.json is damaged ({error})"))
            continue
        parsed = parse_field(name)
        if parsed is None or parsed[1].extension not in DECODERS:
            found.left_out[name] += 1
            continue
        modality, stored = parsed
        seen.add(modality)
        try:
            stats = describe_stored(stored.extension, data, stored.part, True)
        except DataError as error:
            found.bad.append((entry.key, f"{name}: {error}"))
            stats = {"ext": [stored.extension], "parts": [stored.part], "rate": []}
            stats |= {"dtype": None, "shape": None, "range": None}
        record["stats"][modality] = merge_one(record["stats"].get(modality), stats)
    found.samples.update(seen)
    whole = hashlib.sha256(b"".join(name.encode() + b" " + digests[name] for name in sorted(digests)))
    record["samples"].append([entry.key, whole.hexdigest()])
    return meta


def _meta(data: bytes) -> dict[str, Any]:
    meta = parse_json(data)
    return meta if isinstance(meta, dict) else {}


def _split_sets_of(meta: Mapping[str, Any]) -> dict[str, str]:
    told = meta.get("splits")
    found = {name: part for name, part in told.items() if isinstance(part, str)} if isinstance(told, dict) else {}
    for name in (*found, *found.values()):
        check_split(name)
    return found


def _split_of(name: str, splits: Mapping[str, str] | None, meta: Mapping[str, Any]) -> str:
    if splits is not None:
        for split, pattern in splits.items():
            if fnmatch.fnmatchcase(name, pattern):
                return split
        raise DataError(f"shard {name!r} is of no split: give a pattern that it matches, such as rest='*'.")
    if isinstance(meta.get("split"), str):
        check_split(meta["split"])
        return str(meta["split"])
    words = re.split(r"[^a-z]+", name.removesuffix(".tar").lower())
    return next((_WORDS[word] for word in words if word in _WORDS), "train")


def _write(found: Indexed, place: ShardPlace, out: str | Path | None) -> None:
    if out is not None:
        base = place.base if isinstance(place, Remote) and place.scheme else None
        local = Path(place.base) if isinstance(place, Remote) else place
        found.index = replace(found.index, at=base or str(local.absolute()))
        trust("shards", str(found.index.at))  # the user has named it
        save_index(found.index, Path(out))
        found.path = str(Path(out) / INDEX_NAME)
    elif isinstance(place, Remote) and place.scheme:
        from pairalign.data.remote.upload import put

        put(place, INDEX_NAME, index_bytes(found.index))
        found.path = hide(place.file(INDEX_NAME))
    else:
        folder = Path(place.base) if isinstance(place, Remote) else place
        save_index(found.index, folder)
        found.path = str(folder / INDEX_NAME)


def trust_index(folder: str | Path) -> str:
    """Take an index that says its shards lie elsewhere for the user's own, from now on; returns where they lie."""
    at = load_index(folder).at
    if at is None:
        raise DataError(
            f"{str(folder)!r}: its shards lie beside the index, nothing is to be trusted: leave --trust out."
        )
    trust("shards", at)
    return hide(at)


def describe_indexed(found: Indexed) -> Iterator[str]:
    """What a user should know, line by line."""
    total = sum(split.count for split in found.index.splits.values())
    for name, info in found.index.modalities.items():
        unit = f", {info.unit}" if info.unit else ", no unit"
        rate = f", {info.rate:g} Hz" if info.rate else ""
        yield f"{name:<12}{'+'.join(info.ext):<10}in {found.samples[name]} of {total} samples{unit}{rate}"
    for name, split in found.index.splits.items():
        yield f"{name:<12}{split.count:>9} samples{len(split.shards):>6} shards"
    for name, count in found.left_out.most_common():
        yield f"left out: field {name!r} of {count} samples, which has no decoder"
    for key, reason in found.bad[:10]:
        yield f"damaged: {key}: {reason}"
    if len(found.bad) > 10:
        yield f"damaged: {len(found.bad) - 10} more"
