"""Every reader of other people's files, by name: its doors, each with good files, what reads them, how they change.

`make_reader(name, folder)` makes one in an empty folder.

Note:
    Good files come from the makers that the tests use (tests/support), so that a format that is added there is fuzzed
    too.
"""

from __future__ import annotations

import importlib
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


ROOMS = {
    "files": ("pictures", "rare pictures", "arrays", "sounds", "meshes", "videos", "texts"),
    "shards": ("index", "shard", "meta", "remote index"),
    "tables": ("manifests",),
    "settings": ("configs", "overrides", "command line", "cards"),
    "models": ("delta", "scores", "pack", "names"),
    "runs": ("stage one", "stage two", "caches"),
    "results": ("lmms-eval logs", "judged answers", "pickles"),
}
READERS = {name: room for room, names in ROOMS.items() for name in names}


def make_reader(name: str, folder: Path) -> Reader:
    """A reader in an empty folder; its room alone is imported, for some take a while."""
    makes = importlib.import_module(f"fuzzing.readers.{READERS[name]}").MAKES
    return Reader(name, makes[name](folder))
