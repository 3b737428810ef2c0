"""Writing one shard: encode, check, write under another name, rename. Runs in the packing process or in a
worker.

Note:
    A shard is either whole or absent. Its record, what the index will say of it, is written after it, so a shard
    without a record is made again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import numpy as np

from pairalign.core.errors import DataError, StorageError
from pairalign.core.limits import parse_json
from pairalign.data.decode import caption_digest, decode, joined_id
from pairalign.data.encode import ImageFormat, encode
from pairalign.data.formats import SOUNDS
from pairalign.data.jpeg import WholeJpegs
from pairalign.data.rows import Row
from pairalign.data.sound import sound_rate
from pairalign.data.tar import write_end, write_sample
from pairalign.data.video import VideoFrames, expanded
from pairalign.files import DISK_FULL, replacing

RECORDS = ".pack"
_FORMAT = 2  # of the records: a shard that was recorded otherwise is made again
_BYTES: dict[str, Any] = {"dtype": "uint8", "range": [0.0, 255.0]}  # what a JPEG can hold
_WHOLE = WholeJpegs()
_BUFFER = 1 << 20  # bytes of a shard that are handed to the system at once


@dataclass(frozen=True)
class WriteOptions:
    """What decides the stored bytes besides the rows. `allow_constant`: modalities whose constant values are
    fine.
    """

    image: ImageFormat = field(default_factory=ImageFormat)
    on_bad: Literal["fail", "skip"] = "fail"
    allow_constant: tuple[str, ...] = ()
    video: VideoFrames = field(default_factory=VideoFrames)


@dataclass(frozen=True)
class ShardTask:
    """Rows of one shard and where it goes."""

    folder: Path
    name: str
    rows: list[Row]
    options: WriteOptions

    def plan(self) -> str:
        """Hash of all that decides this shard's bytes."""
        digest = hashlib.sha256(f"{_FORMAT} {self.options!r}".encode())
        for row in self.rows:
            digest.update(row.fingerprint().encode())
        return digest.hexdigest()


def finished_record(task: ShardTask, plan: str) -> dict[str, Any] | None:
    """The record of a shard that an interrupted run had finished from the same rows and options, or None."""
    try:
        record = parse_json((task.folder / RECORDS / f"{task.name}.json").read_bytes(), "the record", "table")
        gone = not record["count"] or record.get("sent")  # to a bucket
        whole = gone or (task.folder / task.name).stat().st_size == record["bytes"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return record if record.get("plan") == plan and whole else None


def write_shard(task: ShardTask, plan: str) -> dict[str, Any]:
    """Write one shard and its record; raise `DataError` for a bad sample or a full disk, leaving neither
    behind.
    """
    path = task.folder / task.name
    try:
        with replacing(path, durable=True, sweep=False) as partial:
            with partial.open("wb", buffering=_BUFFER) as stream:
                hashed = _Hashed(stream)
                record = _write(cast(BinaryIO, hashed), task)
            record |= {"plan": plan, "bytes": partial.stat().st_size, "sha256": hashed.digest.hexdigest()}
        if not record["count"]:
            path.unlink()
        with replacing(task.folder / RECORDS / f"{task.name}.json", sweep=False) as partial:
            partial.write_text(json.dumps(record), encoding="utf-8")
    except (OSError, StorageError) as error:
        raise full_disk(error, f"shard {task.name}") from error
    return record


def full_disk(error: OSError | StorageError, what: str) -> DataError:
    """A clear error for a disk or quota that is full, or for a folder that cannot be written. what: could not be."""
    error = error if isinstance(error, OSError) else _cause(error)
    full = error.errno in DISK_FULL
    reason = "the disk is full" if full else f"it cannot be written ({error.strerror or error})"
    fix = "free space" if full else "check the folder"
    return DataError(f"{what}: {reason}: {fix} and run the same pack again; finished shards are kept.")


def _cause(error: StorageError) -> OSError:
    return error.__cause__ if isinstance(error.__cause__, OSError) else OSError(str(error))


class _Hashed:
    """A stream that hashes what it is given, so that a shard need not be read again for it."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.digest = stream, hashlib.sha256()

    def writelines(self, blocks: Iterable[bytes]) -> None:
        """One write of all; a buffer would be filled and emptied for each."""
        self.write(b"".join(blocks))

    def write(self, data: bytes) -> None:
        """Write and hash."""
        self.digest.update(data)
        self.stream.write(data)


def _write(stream: BinaryIO, task: ShardTask) -> dict[str, Any]:
    record: dict[str, Any] = {"count": 0, "samples": [], "bad": [], "labels": [], "stats": {}, "ids": {}, "rates": {}}
    record["splits"] = task.rows[0].meta.get("splits", {})
    labels: set[str] = set()
    for row in task.rows:
        stats: dict[str, Any] = {}
        try:
            stored, ids, digest = encode_row(row, task.options, stats)
            write_sample(stream, row.key, stored)
        except DataError as error:
            if task.options.on_bad == "fail":
                raise bad_sample(row.key, error) from None
            record["bad"].append([row.key, str(error)])
            continue
        record["samples"].append([row.key, digest])
        record["stats"] = merge_stats(record["stats"], stats)
        for name, seen in stats.items():
            for rate in seen["rate"]:
                record["rates"].setdefault(name, {}).setdefault(f"{rate:g}", row.key)
        record["count"] += 1
        for name, found in ids.items():
            record["ids"].setdefault(name, []).append(found)
        labels |= label_names(row.meta.get("label"))
    write_end(stream)
    return record | {"labels": sorted(labels)}


def bad_sample(key: str, error: DataError) -> DataError:
    """The error with which a bad sample ends a pack."""
    return DataError(f"sample {key!r}: {error} Repair it, or skip bad samples (on_bad='skip').")


def label_names(label: Any) -> set[str]:
    """A label as the index lists it; of a dict of factors, `factor=value` for each."""
    if isinstance(label, Mapping):
        return {f"{factor}={value}" for factor, value in label.items()}
    return set() if label is None else {str(label)}


def encode_row(
    row: Row, options: WriteOptions, stats: dict[str, Any]
) -> tuple[list[tuple[str, bytes]], dict[str, int], str]:
    """Stored fields of a row, meta.json first, content ids by modality, and a digest of all; fills `stats` by
    modality.
    """
    stored: list[tuple[str, bytes]] = []
    mains: dict[str, list[bytes]] = {}
    digests: dict[str, bytes] = {}
    fields, frames = expanded(row.fields, options.video)
    if frames and "frames" in row.meta:
        raise DataError("meta holds 'frames', where the times of a video's frames are kept: give it another name.")
    for name, value in fields.items():
        modality, _, part = name.partition(".")
        try:
            extension, data = encode(value, options.image)
            seen = describe_stored(extension, data, part, modality in options.allow_constant or modality in frames)
        except DataError as error:
            raise DataError(f"{name}: {error}") from None
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise DataError(f"{name}: no file can hold it ({error}).") from None
        stats[modality] = merge_one(stats.get(modality), seen)
        stored.append((f"{name}.{extension}", data))
        digest = digests[f"{name}.{extension}"] = hashlib.sha256(data).digest()
        if not part or (part.isdigit() and modality not in fields):
            mains.setdefault(modality, []).append(caption_digest(data) if extension == "txt" else digest)
    ids = {name: joined_id(found) for name, found in mains.items()}
    try:
        told = {**row.meta, **({"frames": frames} if frames else {}), "ids": ids}
        meta = json.dumps(told, sort_keys=True, ensure_ascii=False, default=_plain).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"label, group, session or meta is no JSON ({error}).") from None
    digests["meta.json"] = hashlib.sha256(meta).digest()
    whole = hashlib.sha256(b"".join(name.encode() + b" " + digests[name] for name in sorted(digests)))
    return [("meta.json", meta), *stored], ids, whole.hexdigest()


def _plain(value: Any) -> Any:
    """A numpy number as a plain one, for JSON."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def describe_stored(extension: str, data: bytes, part: str, allow_constant: bool) -> dict[str, Any]:
    """Decode what was stored; raise `DataError` if it is damaged, not finite, blank or empty."""
    seen: dict[str, Any] = {
        "ext": [extension],
        "parts": [part],
        "dtype": None,
        "shape": None,
        "range": None,
        "rate": [],
    }
    measured = not part or part.isdigit()  # background, sensor: neither measured nor aligned
    shape = _WHOLE.shape(data) if extension == "jpg" else None
    if shape is not None:
        return seen | ({**_BYTES, "shape": list(shape)} if measured else {})
    value = decode(extension, data)
    if not measured:
        return seen
    if isinstance(value, str) and not value.strip():
        raise DataError("the text is empty.")
    if extension in ("txt", "json"):
        return seen
    array = np.asarray(value)
    if array.size == 0:
        raise DataError(f"the array of shape {array.shape} is empty.")
    low, high = float(array.min()), float(array.max())
    if low == high and array.size > 1 and not allow_constant:
        raise DataError(f"is constant: all {array.size} values are {low:g}.")
    if extension == "jpg":
        _WHOLE.learn(data, array.shape)
        return seen | {**_BYTES, "shape": list(array.shape)}
    rate = [sound_rate(data, extension)] if extension in SOUNDS else []
    palette = getattr(value, "mode", "") in ("P", "PA")  # numbers of colours, which are shown as three
    sizes = [*array.shape[:2], 3] if palette else list(array.shape)
    return seen | {"dtype": str(array.dtype), "shape": sizes, "range": [low, high], "rate": rate}


def merge_stats(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    """Statistics by modality over two sets of samples."""
    return {name: merge_one(a.get(name), b.get(name)) for name in sorted(a.keys() | b.keys())}


def merge_one(a: dict[str, Any] | None, b: dict[str, Any] | None) -> dict[str, Any]:
    """Statistics of one modality over two sets: sets unite, shapes keep what agrees, ranges widen."""
    if a is None or b is None or a == b:
        return a or b or {}
    merged: dict[str, Any] = {name: sorted({*a[name], *b[name]}) for name in ("ext", "parts", "rate")}
    if a["range"] is None or b["range"] is None:
        return merged | {name: a[name] if b["range"] is None else b[name] for name in ("dtype", "shape", "range")}
    merged["dtype"] = a["dtype"] if a["dtype"] == b["dtype"] else "mixed"
    merged["range"] = [min(a["range"][0], b["range"][0]), max(a["range"][1], b["range"][1])]
    same_rank = a["shape"] is not None and b["shape"] is not None and len(a["shape"]) == len(b["shape"])
    merged["shape"] = (
        [x if x == y else None for x, y in zip(a["shape"], b["shape"], strict=True)] if same_rank else None
    )
    return merged
