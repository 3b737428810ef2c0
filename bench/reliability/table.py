"""docs/reliability.md, from the records that the sections of `bench/faults.py` left.

Note:
    A figure stands here only if there is a record of it; whatever was not measured says so.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reliability.prose import HEAD, MEANS

PROMISES = {
    "kills": "kills (−9, TERM, INT) at random moments: every file as undisturbed",
    "disk": "disk full at random moments of each verb: a clear line, nothing half-written, goes on once there is room",
    "fuzz": "fuzzed readers: nothing untyped, no hang, at most 1 GiB",
    "hostile": "hostile files refused without anything run, written or read outside",
    "threads": "8 threads, 400 requests with and without sensors: each answered as alone",
    "soak": "long use: memory at most 1.02 × that after warm-up, file descriptors constant",
    "pythons": "fast tests on Python 3.12 and 3.13",
}
PLAIN = (
    "section",
    "what",
    "tried",
    "held",
    "failures",
    "settings",
    "rows",
    "picture",
    "part",
    "seed",
    "date",
    "versions",
)


def write_table(records: Path, path: Path) -> Path:
    """Write the page to `path`."""
    found = {name: _record(records / f"{name}.json") for name in PROMISES}
    lines = [_row(PROMISES[name], record) for name, record in found.items()]
    parts = ["\n".join(_section(name, record)) for name, record in found.items() if record]
    for name, record in found.items():
        if record and "picture" in record:
            shutil.copyfile(records / record["picture"], path.with_name(f"{name}.png"))
    path.write_text(HEAD + "\n".join(lines) + "\n" + "".join(f"\n{part}\n" for part in parts), encoding="utf-8")
    return path


def _record(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _row(promise: str, record: dict[str, Any] | None) -> str:
    if record is None:
        return f"| {promise} | not measured | | |"
    share = f" ({_share(record['held'], record['tried'])} %)" if record["tried"] else ""
    share += f"; {record['part']}" if record.get("part") else ""
    return f"| {promise} | {record['held']} of {record['tried']}{share} | {record['seed']} | {record['date']} |"


def _share(held: int, tried: int) -> str:
    """In percent; what did not all hold is never rounded up to 100."""
    return "100" if held == tried else f"{min(100 * held / tried, 99.9998):.7g}"


def _section(name: str, record: dict[str, Any]) -> Iterator[str]:
    """How it was measured, in rows where the section gives `rows`, and what failed."""
    yield f"## {name}\n"
    yield f"{MEANS[name]}\n\n`python bench/faults.py {name}`: {record['what'].rstrip('.')}.\n"
    figures = {key: value for key, value in record.items() if key not in PLAIN}
    yield "; ".join(f"{key}: {_text(value)}" for key, value in (record["settings"] | figures).items()) + "."
    yield "Versions: " + ", ".join(f"{key} {value}" for key, value in record["versions"].items()) + "."
    rows = record.get("rows", [])
    if rows:
        yield f"\n| {' | '.join(rows[0])} |\n|{'---|' * len(rows[0])}"
        yield from (f"| {' | '.join(_text(value) for value in row.values())} |" for row in rows)
    if "picture" in record:
        yield f"\n![{name}: {record['what']}]({name}.png)"
    if record["failures"]:
        yield "\nDid not hold:\n"
        yield from (f"- {failure}" for failure in record["failures"])


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(map(_text, value)) if isinstance(value, list | tuple) else str(value)
