"""From the records of written shards to the index of their folder.

Note:
    A wav file states its own rate, so a modality of wav files that disagree, with each other or with the rate that the
    caller gives, is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from pairalign import __version__
from pairalign.core.errors import DataError
from pairalign.core.types import as_unit
from pairalign.data.index import ModalityInfo, ShardIndex, ShardInfo, SplitInfo
from pairalign.data.write import merge_stats


def summarise(
    records: list[tuple[str, str, dict[str, Any]]],
    skipped: list[tuple[str, str]],
    units: Mapping[str, Mapping[str, Any]],
    described: dict[str, Any],
) -> ShardIndex:
    """The index of a folder from (split, shard name, condensed record) of its shards.

    skipped: samples left out before they reached a shard. units: unit, rate and axes by modality. described:
    source, licence, synthetic. Raises `DataError` for a split without a whole sample and for rates that
    differ.
    """
    skipped = list(skipped)
    shards: dict[str, list[ShardInfo]] = {}
    others: dict[str, dict[str, list[ShardInfo]]] = {}
    stats: dict[str, Any] = {}
    rates: dict[str, dict[str, str]] = {}
    labels: set[str] = set()
    digests: list[np.ndarray] = []
    for split, name, record in records:
        skipped += [(key, reason) for key, reason in record["bad"]]
        labels |= set(record["labels"])
        stats = merge_stats(stats, record["stats"])
        for modality, firsts in record.get("rates", {}).items():
            rates[modality] = {**firsts, **rates.get(modality, {})}
        digests.append(record["digests"])
        found = shards.setdefault(split, [])
        if record["count"]:
            info = ShardInfo(name, record["count"], record["bytes"], record["sha256"])
            found.append(info)
            for split_set, part in record["splits"].items():
                others.setdefault(split_set, {}).setdefault(part, []).append(info)
    for split, found in shards.items():
        if not found:
            first = f", every sample is bad. First: {skipped[0][0]!r}: {skipped[0][1]}" if skipped else "."
            raise DataError(f"split {split!r} is empty{first}")
    return ShardIndex(
        modalities={
            name: modality_info(name, stats[name], dict(units.get(name, {})), rates.get(name, {})) for name in stats
        },
        splits=_splits(shards),
        divisions={split_set: _splits(parts) for split_set, parts in sorted(others.items())},
        content_hash=hashlib.sha256(np.sort(np.concatenate(digests)).tobytes()).hexdigest(),
        labels=tuple(sorted(labels)),
        skipped=tuple(sorted(skipped)),
        created_by=f"pairalign {__version__}",
        **described,
    )


def condensed(split: str, record: dict[str, Any]) -> dict[str, Any]:
    """A shard's record with what it says of each sample in fixed small space, so that packing runs in little memory.

    digests (N,) of 32 bytes: of split, key and stored bytes. ids: int64 (N,) by modality.
    """
    lines = (f"{split} {key} {digest}".encode() for key, digest in record["samples"])
    digests = np.array([hashlib.sha256(line).digest() for line in lines], "S32")
    ids = {name: np.array(found, np.int64) for name, found in record["ids"].items()}
    return {name: value for name, value in record.items() if name != "samples"} | {"digests": digests, "ids": ids}


def _splits(shards: Mapping[str, list[ShardInfo]]) -> dict[str, SplitInfo]:
    return {split: SplitInfo(sum(i.count for i in found), tuple(found)) for split, found in sorted(shards.items())}


def modality_info(
    name: str, stats: dict[str, Any], units: dict[str, Any], firsts: Mapping[str, str] | None = None
) -> ModalityInfo:
    """What the index says of one modality, from the statistics of its samples and what the caller says of it.

    firsts: key of the first sample of each sampling rate.
    """
    rates = stats["rate"]
    if len(rates) > 1 or (rates and units.get("rate") not in (None, rates[0])):
        where = ", ".join(f"{rate} Hz in sample {key!r}" for rate, key in (firsts or {}).items())
        raise DataError(
            f"modality {name!r}: its sounds state {', '.join(f'{r:g}' for r in rates)} Hz, units say "
            f"{units.get('rate')} (first met: {where}): resample to one rate, and say that one or none."
        )
    axes = units.get("axes")
    return ModalityInfo(
        ext=tuple(stats["ext"]),
        parts=tuple(stats["parts"]),
        unit=as_unit(units.get("unit")),
        rate=units.get("rate") or (rates[0] if rates else None),
        axes=tuple(axes) if axes else None,
        sensor=units.get("sensor"),
        up=units.get("up"),
        dtype=stats["dtype"],
        shape=tuple(stats["shape"]) if stats["shape"] is not None else None,
        range=tuple(stats["range"]) if stats["range"] is not None else None,
    )
