"""What a process holds: descriptors, threads, processes that it started, objects of Python by type. Linux alone."""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def children() -> list[int]:
    """Processes that this one started and that run."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # a thread that has just ended
            found += [int(number) for number in (task / "children").read_text().split()]
    return found


def descriptors(process: int | str = "self") -> int:
    """Open descriptors of a process, 0 of one that is gone."""
    try:
        return len(os.listdir(f"/proc/{process}/fd"))
    except OSError:
        return 0


def threads(process: int | str = "self") -> int:
    """Threads of a process, 0 of one that is gone."""
    try:
        return len(os.listdir(f"/proc/{process}/task"))
    except OSError:
        return 0


def objects() -> Counter[str]:
    """Objects that the collector tracks, by type; counted twice, since looking for the first time makes some."""
    for _ in range(2):
        gc.collect()
        kinds = Counter(map(type, gc.get_objects()))
        found = Counter({f"{kind.__module__}.{kind.__qualname__}": n for kind, n in kinds.items()})
    return found


@contextmanager
def only_newer() -> Iterator[None]:
    """Within it `objects` counts what was made since, which is quick."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
