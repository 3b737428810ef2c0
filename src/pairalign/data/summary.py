"""From the records of written shards to the index of their folder.

Where it bites: a wav file states its own rate, so a modality of wav files that disagree, with each other or
with the rate that the caller gives, is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from pairalign import __version__
from pairalign.data.index import ModalityInfo, ShardIndex, ShardInfo, SplitInfo
from pairalign.data.write import merge_stats
from pairalign.errors import DataError


def summarise(
    records: list[tuple[str, str, dict[str, Any]]],
    skipped: list[tuple[str, str]],
    units: Mapping[str, Mapping[str, Any]],
    described: dict[str, Any],
) -> ShardIndex:
    """The index of a folder from (split, shard name, record) of its shards.

    skipped: samples left out before they reached a shard. units: unit, rate and axes by modality. described:
    source, licence, synthetic. Raises `DataError` for a split without a whole sample and for rates that
    differ.
    """
    skipped = list(skipped)
    shards: dict[str, list[ShardInfo]] = {}
    stats: dict[str, Any] = {}
    labels: set[str] = set()
    lines: list[str] = []
    for split, name, record in records:
        skipped += [(key, reason) for key, reason in record["bad"]]
        labels |= set(record["labels"])
        stats = merge_stats(stats, record["stats"])
        lines += [f"{split} {key} {digest}" for key, digest in record["samples"]]
        found = shards.setdefault(split, [])
        if record["count"]:
            found.append(ShardInfo(name, record["count"], record["bytes"], record["sha256"]))
    for split, found in shards.items():
        if not found:
            raise DataError(f"split {split!r} is empty, every sample is bad. First: {skipped[0][0]}: {skipped[0][1]}")
    return ShardIndex(
        modalities={name: _modality(name, stats[name], dict(units.get(name, {}))) for name in stats},
        splits={s: SplitInfo(sum(i.count for i in found), tuple(found)) for s, found in sorted(shards.items())},
        content_hash=hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest(),
        labels=tuple(sorted(labels)),
        skipped=tuple(sorted(skipped)),
        created_by=f"pairalign {__version__}",
        **described,
    )


def _modality(name: str, stats: dict[str, Any], units: dict[str, Any]) -> ModalityInfo:
    rates = stats["rate"]
    if len(rates) > 1 or (rates and units.get("rate") not in (None, rates[0])):
        raise DataError(
            f"modality {name!r}: its wav files state {', '.join(f'{r:g}' for r in rates)} Hz, units say "
            f"{units.get('rate')}: resample to one rate, and say that one or none."
        )
    axes = units.get("axes")
    return ModalityInfo(
        ext=tuple(stats["ext"]),
        parts=tuple(stats["parts"]),
        unit=units.get("unit"),
        rate=units.get("rate") or (rates[0] if rates else None),
        axes=tuple(axes) if axes else None,
        dtype=stats["dtype"],
        shape=tuple(stats["shape"]) if stats["shape"] is not None else None,
        range=tuple(stats["range"]) if stats["range"] is not None else None,
    )
