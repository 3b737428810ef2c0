"""Samples in, rows out: one checked `Row` for every sample that `pack_pairs` is given.

A sample is a dict: a value by modality, and optionally "key", "label", "group", "session", "split", "splits" (its
split in other split sets of the same data, by their name) and "meta" (a dict of anything JSON). A value may
be a dict of parts ("value", "frames", "background", "sensor", …); a list that is not numeric is frames.

Note:
    A split by fractions is decided by group where there is one, so that no object or session falls on both sides.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pairalign.core.errors import DataError, did_you_mean
from pairalign.data.encode import is_numeric, tensor_array
from pairalign.data.made import Made

RESERVED = ("key", "label", "group", "session", "split", "splits", "meta")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")

Split = str | Mapping[str, float] | None


@dataclass(frozen=True)
class Row:
    """One sample ready to be written: values by `<modality>[.<part>]`, and what goes into its meta.json."""

    key: str
    split: str
    fields: dict[str, Any]
    meta: dict[str, Any]

    @property
    def cell(self) -> str:
        """Its split in every split set, joined: rows of one cell may share a shard."""
        return ".".join([self.split, *(f"{name}-{part}" for name, part in self.meta.get("splits", {}).items())])

    def fingerprint(self) -> str:
        """Hash of everything that decides this row's stored bytes; of a file its name, size and time of
        change.
        """
        digest = hashlib.sha256(repr((self.key, self.split, sorted(self.meta.items(), key=str))).encode())
        for name, value in sorted(self.fields.items()):
            digest.update(name.encode() + b"\0")
            digest.update(_identity(value))
        return digest.hexdigest()


def rows_from(
    samples: Iterable[tuple[int, Mapping[str, Any]]],
    modalities: Sequence[str] | None,
    split: Split = None,
    seed: int = 0,
    on_bad: Callable[[str, str], None] | None = None,
) -> Iterator[Row]:
    """Check numbered samples; raise `DataError` naming the sample for a missing side or a repeated key.

    modalities: None takes those of the first sample, and every sample must have them all.
    split: name for all, or share by name; None takes each sample's own "split", else "train".
    on_bad: called with (key, reason) for a sample that lacks a side, which is then left out; without it, it
        raises.
    """
    check_split(split)
    seen: set[int] = set()
    for number, sample in samples:
        key = f"{number:08d}"
        try:
            if not isinstance(sample, Mapping):
                raise DataError(f"sample {number} is a {type(sample).__name__}: give a dict of a value by modality.")
            key = _key(sample, number)
            digest = key_digest(key)
            if digest in seen:
                raise DataError(f"sample {number}: key {key!r} is used twice: give each its own key, or none any.")
            seen.add(digest)
            if modalities is None:
                modalities = check_modalities([name for name in sample if name not in RESERVED])
            row = _row(sample, key, modalities, split, seed)
        except DataError as error:
            if on_bad is None:
                raise
            on_bad(key, str(error))
            continue
        yield row


def _key(sample: Mapping[str, Any], number: int) -> str:
    key = str(sample.get("key", f"{number:08d}"))
    if not key.strip():
        raise DataError(f"sample {number}: key {key!r} is empty: give each its own key, or none any.")
    return checked_text(key, f"sample {number}: its key")


def checked_text(text: str, where: str) -> str:
    """The text; raise `DataError` where no file can hold it: half of a character that a cut has left."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"{text[error.start]!a} at {error.start}"
        raise DataError(f"{where}: holds half a character ({half}): cut the text elsewhere.") from None
    return text


def key_digest(key: str) -> int:
    """Eight bytes that stand for a key, so that a million of them can be remembered."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest())


def check_modalities(names: Sequence[str]) -> list[str]:
    """Raise `DataError` for a name that a shard cannot hold."""
    for name in names:
        if not NAME.fullmatch(name) or name in RESERVED:
            raise DataError(f"modality {name!r}: use letters, digits and _, and none of {', '.join(RESERVED)}.")
    if not names:
        raise DataError("no modality is left to pack: name at least one.")
    return list(names)


def check_split(split: Split) -> None:
    """Raise `DataError` unless split names are plain and shares are positive and sum to 1."""
    names = [split] if isinstance(split, str) else list(split or ())
    for name in names:
        if not NAME.fullmatch(name):
            raise DataError(f"split {name!r}: use letters, digits, _ and -.")
    if isinstance(split, Mapping) and (abs(sum(split.values()) - 1) > 1e-6 or min(split.values()) <= 0):
        raise DataError(f"split={dict(split)}: give positive shares that sum to 1.")


def _row(sample: Mapping[str, Any], key: str, modalities: Sequence[str], split: Split, seed: int) -> Row:
    fields: dict[str, Any] = {}
    for name in modalities:
        if sample.get(name) is None:
            have = [n for n in sample if n not in RESERVED and sample[n] is not None]
            raise DataError(f"sample {key!r} has no {name!r}.{did_you_mean(name, have)} Every sample needs every side.")
        fields.update(_parts(name, sample[name], key))
    meta = dict(sample.get("meta") or {})
    if "ids" in meta:
        raise DataError(f"sample {key!r}: meta holds 'ids', where content ids are kept: give it another name.")
    meta.update({name: sample[name] for name in ("label", "group", "session") if sample.get(name) is not None})
    if meta:
        told = json.dumps(meta, ensure_ascii=False, default=str)
        checked_text(told, f"sample {key!r}: its label, group, session or meta")
    chosen = _split_of(sample, key, split, seed)
    if sample.get("splits"):
        for name, part in sample["splits"].items():
            check_split(name)
            check_split(part)
        meta["splits"] = {name: sample["splits"][name] for name in sorted(sample["splits"])}
    return Row(key, chosen, fields, {**meta, "split": chosen})


def _parts(name: str, value: Any, key: str) -> dict[str, Any]:
    if isinstance(value, (list, tuple)) and not is_numeric(value):
        value = {"frames": value}
    if not isinstance(value, Mapping):
        return {name: value}
    found: dict[str, Any] = {}
    for part, entry in value.items():
        if part == "frames":
            if isinstance(entry, (str, bytes, Mapping)) or not isinstance(entry, Iterable):
                raise DataError(f"sample {key!r}: the frames of {name!r} are a {type(entry).__name__}: give a list.")
            found.update({f"{name}.{i:02d}": frame for i, frame in enumerate(entry)})
        elif part == "value":
            found[name] = entry
        elif NAME.fullmatch(part):
            found[f"{name}.{part}"] = entry
        else:
            raise DataError(f"sample {key!r}: part {part!r} of {name!r}: use letters, digits and _.")
    if not any(field == name or field.removeprefix(f"{name}.").isdigit() for field in found):
        raise DataError(f"sample {key!r}: {name!r} has parts {sorted(value)}, but neither a value nor frames.")
    return found


def _split_of(sample: Mapping[str, Any], key: str, split: Split, seed: int) -> str:
    if isinstance(split, str):
        return split
    if split is None:
        name = str(sample.get("split") or "train")
        check_split(name)
        return name
    group = sample.get("group")
    digest = hashlib.blake2b(f"{seed}/{key if group is None else group}".encode(), digest_size=8).digest()
    place, bound = int.from_bytes(digest, "little") / 2**64, 0.0
    for name, share in split.items():
        bound += share
        if place < bound:
            return name
    return name


def _identity(value: Any) -> bytes:
    if isinstance(value, Made):
        made = f"{value.make.__module__}.{value.make.__qualname__}".encode()
        return b"\0".join([made, *(_identity(argument) for argument in value.args)])
    if isinstance(value, Path):
        try:
            stat = os.stat(value)
        except (OSError, ValueError):  # reported as a bad sample when it is encoded
            return b"missing"
        return f"{value.name} {stat.st_size} {stat.st_mtime_ns}".encode()
    if hasattr(value, "getbands"):
        try:
            return f"{value.mode} {value.size}".encode() + value.tobytes()
        except Exception:  # a lazily opened file that is damaged: the same
            return b"damaged"
    if hasattr(value, "detach"):
        try:
            value = tensor_array(value)
        except DataError:  # reported as a bad sample when it is encoded
            return b"damaged"
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}".encode() + np.ascontiguousarray(value).tobytes()
    return repr(value).encode()
