"""A value that is made where it is written: a function and its arguments instead of the array itself; and stored bytes.

A mesh that is sampled or a picture that is resized is then worked on by the process that writes its shard, and a list
of a million samples stays a list of paths.

Note:
    Packing may run in other processes, so `make` must be a function at the top of a module; it must give the same value
    for the same arguments, or a resumed pack differs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Made:
    """`make(*args)`, called when the sample is written. Paths among `args` count with their size and time of change."""

    make: Callable[..., Any]
    args: tuple[Any, ...]

    def value(self) -> Any:
        """Make it; a `DataError` makes the sample a bad one."""
        return self.make(*self.args)


@dataclass(frozen=True)
class Stored:
    """A file's bytes that are at hand without the file: written as they are. extension: of that file, without dot."""

    extension: str
    data: bytes
