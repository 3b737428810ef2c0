"""JSON-lines files that grow as answers come, so that a killed run loses the answer it was at and no other.

Note:
    A kill in the middle of a write leaves half a line; reading skips it, and writing takes it away first.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from pairalign.core.errors import DataError
from pairalign.core.limits import parse_json
from pairalign.files import append_line, writing


def read_lines(path: str | Path, needed: Collection[str]) -> Iterator[dict[str, Any]]:
    """The records of a file that have all `needed` fields, each a text; nothing if there is no file."""
    path = Path(path)
    if not path.is_file():
        return
    for line in path.read_bytes().split(b"\n"):
        try:
            record = parse_json(line)
        except (ValueError, DataError):  # also half a character
            continue
        if isinstance(record, dict) and all(isinstance(record.get(name), str) for name in needed):
            yield record


@contextmanager
def appended(path: str | Path) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A function that adds a record to the file, whole or not at all, and has it on its way to the disk on return.

    A last line that was cut off is taken away first, so that the file becomes what it would be had nothing happened.
    Raise `StorageError` where the disk is full.
    """
    path = Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as stream:
            _mend_end(stream)
    yield lambda record: append_line(path, json.dumps(record, ensure_ascii=False))


def _mend_end(stream: BinaryIO) -> None:
    """End the last line, or take it away where it is no whole record."""
    stream.seek(0)
    data = stream.read()
    start = data.rfind(b"\n") + 1
    if start == len(data):
        return
    try:
        parse_json(data[start:])
    except (ValueError, DataError):
        stream.truncate(start)
    else:
        stream.write(b"\n")
