"""JSON-lines files that grow as answers come, so that a killed run loses the answer it was at and no other.

Where it bites: a kill in the middle of a write leaves half a line; reading skips it, and writing goes on behind it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def read_lines(path: str | Path, needed: Collection[str]) -> Iterator[dict[str, Any]]:
    """The records of a file that have all `needed` fields; nothing if there is no file."""
    path = Path(path)
    if not path.is_file():
        return
    for line in path.read_bytes().split(b"\n"):
        try:
            record = json.loads(line)
        except ValueError:  # also half a character
            continue
        if isinstance(record, dict) and set(needed) <= record.keys():
            yield record


@contextmanager
def appended(path: str | Path) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A function that adds a record to the file and has it on its way to the disk when it returns."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as stream:
        if stream.seek(0, 2):
            stream.seek(-1, 2)
            if stream.read(1) != b"\n":
                stream.write(b"\n")

        def add(record: Mapping[str, Any]) -> None:
            stream.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
            stream.flush()

        yield add
