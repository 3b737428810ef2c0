"""Inputs that a reader once broke on, kept as text: a JSON file a reader, which the tests read again.

Note:
    An input is shrunk before it is kept, as long as it fails at the same place, so that a hundred of them are small and
    a person sees what each is about; text stands there as it is, anything else compressed and in base64.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from fuzzing.mailbox import Case
from fuzzing.readers import make_reader
from fuzzing.record import Record
from fuzzing.worker import judge, memory_now

TRIES = 400  # readings that shrinking one input may take
LARGEST = 20_000  # characters of a kept input; a larger one is not kept


class Kept(NamedTuple):
    """A case, and what was found when it was new."""

    case: Case
    was: str


def load(path: Path) -> Iterator[Kept]:
    """What a file of the corpus holds."""
    for told in json.loads(path.read_text(encoding="utf-8"))["cases"]:
        packed = zlib.decompress(base64.b64decode(told["deflated"])) if "deflated" in told else told["text"].encode()
        yield Kept(Case(told["door"], packed), told["was"])


def add(record: Record, corpus: Path, work: Path) -> int:
    """Shrink what was found in a reader and keep it in its file; how many inputs are new. work: an empty folder."""
    reader = make_reader(record.reader, work)
    path = corpus / f"{record.reader.replace(' ', '_')}.json"
    kept = list(load(path)) if path.exists() else []
    new = []
    for was, finding in record.findings.items():
        small = shrunk(reader.doors[finding.door].read, finding.data, was)
        one = Kept(Case(finding.door, small), was)
        if one.case not in [other.case for other in kept] and len(json.dumps(_told(one))) < LARGEST:
            new.append(one)
    if new:
        told = {"reader": record.reader, "cases": [_told(one) for one in (*kept, *new)]}
        path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return len(new)


def shrunk(read: Callable[[bytes], object], data: bytes, outcome: str) -> bytes:
    """A shorter input of the same outcome: pieces of ever smaller size are left out."""
    before, size = memory_now(), len(data) // 2
    if judge(read, data, before).outcome != outcome:
        return data  # of another process, such as one that died
    tries = TRIES
    while size and tries > 0:
        at = 0
        while at < len(data) and tries > 0:
            shorter, tries = data[:at] + data[at + size :], tries - 1
            if judge(read, shorter, before).outcome == outcome:
                data = shorter
            else:
                at += size
        size //= 2
    return data


def _told(kept: Kept) -> dict[str, str]:
    (door, data), was = kept
    try:
        text = data.decode("utf-8")
        if len(text) < 3000 and all(character.isprintable() or character in "\n\t" for character in text):
            return {"door": door, "was": was, "text": text}
    except UnicodeDecodeError:
        pass
    return {"door": door, "was": was, "deflated": base64.b64encode(zlib.compress(data, 9)).decode()}
