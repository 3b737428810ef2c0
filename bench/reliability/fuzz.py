"""Section `fuzz`: damaged files for every reader of other people's files; what held was read, or refused in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tqdm import tqdm

from fuzzing.readers import READERS
from fuzzing.record import Record
from fuzzing.watch import watch

COUNT = 600
LIMIT = 20.0


def measure(work: Path, count: int, seed: int) -> dict[str, Any]:
    """Fuzz every reader for `count` CPU seconds. work: folder of the records; what it holds is gone on from."""
    found = [
        watch(name, count, LIMIT, seed, work / f"{name.replace(' ', '_')}.json")
        for name in tqdm(READERS, desc="fuzz", unit="reader")
    ]
    return summarise(found, count, seed)


def summarise(records: list[Record], seconds: float, seed: int) -> dict[str, Any]:
    """The section of these records."""
    missing = [name for name in READERS if name not in {record.reader for record in records if record.finished}]
    settings: dict[str, Any] = {"cpu_seconds_each": seconds, "cpu_seconds_of_a_hang": LIMIT, "seed": seed}
    if missing:
        settings["not fuzzed so long yet"] = missing
    bad = [(record, kind, finding) for record in records for kind, finding in record.findings.items()]
    return {
        "section": "fuzz",
        "what": "damaged files, read or refused in words: no other exception, no hang, no death, at most 1 GiB each",
        "tried": sum(record.cases for record in records),
        "held": sum(record.read + record.refused for record in records),
        "part": f"{len(READERS) - len(missing)} of {len(READERS)} readers had their time" if missing else "",
        "failures": [f"{record.reader}, {one.door}: {one.count} × {kind}: {one.said}" for record, kind, one in bad],
        "settings": settings,
        "readers": len(records),
        "cpu_seconds": round(sum(record.seconds for record in records)),
        "most_mib": max((record.peak_mib for record in records), default=0),
        "slowest_seconds": max((record.slowest for record in records), default=0),
        "rows": [
            {
                "reader": record.reader,
                "cases": record.cases,
                "refused": record.refused,
                "CPU seconds": round(record.seconds),
                "most MiB": record.peak_mib,
                "slowest, s": record.slowest,
                "findings": record.bad,
            }
            for record in records
        ],
    }
