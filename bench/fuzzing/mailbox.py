"""The case that is being read, where another process finds it after this one is dead: a file in shared memory."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import NamedTuple

LARGEST = 4 << 20  # bytes of a case
_HEAD = 4096


class Case(NamedTuple):
    """A damaged file, and which of a reader's files it stands for."""

    door: str
    data: bytes


class Mailbox:
    """`number` of cases that were begun, and the last of them."""

    def __init__(self, path: Path) -> None:
        with path.open("ab+") as file:
            file.truncate(LARGEST + _HEAD)
            self.memory = mmap.mmap(file.fileno(), LARGEST + _HEAD)

    @property
    def number(self) -> int:
        """How many cases were begun."""
        return int.from_bytes(self.memory[:8], "little")

    def put(self, case: Case) -> None:
        """Begin a case."""
        name = case.door.encode()
        self.memory[_HEAD : _HEAD + len(case.data)] = case.data
        self.memory[24 : 24 + len(name)] = name
        self.memory[8:24] = len(name).to_bytes(8, "little") + len(case.data).to_bytes(8, "little")
        self.memory[:8] = (self.number + 1).to_bytes(8, "little")

    def get(self) -> Case:
        """The case that was begun last."""
        name, size = (int.from_bytes(self.memory[at : at + 8], "little") for at in (8, 16))
        return Case(self.memory[24 : 24 + name].decode(), self.memory[_HEAD : _HEAD + size])
