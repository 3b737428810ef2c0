"""Every reader of other people's files, by name: its doors, each with good files, what reads them, how they change.

`READERS[name](folder)` makes the doors in an empty folder. Where it bites: good files come from the makers that the
tests use (tests/support), so that a format that is added there is fuzzed too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from fuzzing.change import Change, bytes_changed

ROOT = Path(__file__).parents[3]
sys.path += [str(ROOT / "tests" / "support")]


class Door(NamedTuple):
    """One kind of file. good: whole ones. read: raises a `PairalignError` for what it refuses."""

    good: list[bytes]
    read: Callable[[bytes], object]
    change: Change = bytes_changed


class Reader(NamedTuple):
    """A room that reads files from strangers, and its doors by name."""

    name: str
    doors: dict[str, Door]


Make = Callable[[Path], dict[str, Door]]


def _readers() -> dict[str, Make]:
    from fuzzing.readers import files, models, results, runs, settings, shards, tables

    rooms = (files, shards, tables, settings, models, runs, results)
    return {name: make for room in rooms for name, make in room.MAKES.items()}


READERS = _readers()
