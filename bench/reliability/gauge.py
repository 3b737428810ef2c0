"""What a process and its workers hold while they work: memory, descriptors, threads, blocks and objects of Python.

Note:
    Memory is the proportional set size without pages of files, so that a page that forked workers share counts once,
    and other processes that load the same libraries change nothing; it is read after a collection of garbage, since
    what only the collector frees is no leak. Threads of asyncio's own pool, of which there are at most 4 more than
    cores, come one by one as they are needed and stay: they count as if they had been there. Read from /proc: Linux
    alone.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from holding import children, descriptors, objects, threads

ALLOWED = 1.02  # memory after warm-up, at most
WARM = 0.2  # share of the work that is warm-up; the next such share says what is held then
READINGS = 60
SETTLE = 60.0  # seconds in which threads that were told to end may do so


@dataclass(frozen=True)
class Reading:
    """At `done` units of work: `memory` (bytes, PSS without files) of the process and its `workers`; `blocks` of
    Python's allocator in the process alone."""

    done: int
    seconds: float
    memory: int
    blocks: int
    workers: int


@dataclass
class Watch:
    """Call it with the units of work done, `total` in all; it reads memory now and then, descriptors each time."""

    total: int
    readings: list[Reading] = field(default_factory=list)
    open_then: int | None = (
        None  # descriptors at least in the share after warm-up, and in the last two: of workers each
    )
    open_later: int | None = None  # tensor on its way holds one, so that a leak shows where nothing is on its way
    threads_then: int = 0  # at most until the share after warm-up is over
    threads_later: int = 0

    def __post_init__(self) -> None:
        gc.collect()
        gc.freeze()  # what is there already is neither collected nor counted again, which saves most of the time
        self._started, self._next, self._others = time.monotonic(), 0.0, set(children())
        self._first, self._pooled = (descriptors(), threads()), pooled()
        self._middle: tuple[Counter[str], int] | None = None

    def __call__(self, done: int) -> None:
        """Take what there is to read at this point."""
        family = [os.getpid(), *self._workers()]
        held, running = sum(map(descriptors, family)), sum(map(threads, family))
        if WARM * self.total < done <= 2 * WARM * self.total:
            self.open_then = min(held, self.open_then or held)
        if done > (1 - 2 * WARM) * self.total:
            self.open_later = min(held, self.open_later or held)
        if done <= 2 * WARM * self.total:
            self.threads_then = max(self.threads_then, running)
        else:
            self.threads_later = max(self.threads_later, running)
        if done < self._next and done < self.total:
            return
        self._next = done + self.total / READINGS
        gc.collect()
        memory = sum(map(proportional, family))
        elapsed = round(time.monotonic() - self._started, 2)
        self.readings.append(Reading(done, elapsed, memory, sys.getallocatedblocks(), len(family) - 1))
        if self._middle is None and done >= 2 * WARM * self.total:
            self._middle = objects(), done

    def _workers(self) -> list[int]:
        """Processes that were started since."""
        return [one for one in children() if one not in self._others]

    def _threads(self) -> int:
        """Of this process, those that asyncio's pool got since aside."""
        return threads() - pooled() + self._pooled

    def finish(self) -> dict[str, Any]:
        """What was found; call it when everything that was watched has been closed."""
        deadline = time.monotonic() + SETTLE
        while time.monotonic() < deadline and self._threads() > self._first[1]:
            time.sleep(0.1)  # what was being fetched ahead is fetched to its end
        gc.collect()
        later = [one for one in self.readings if one.done > 2 * WARM * self.total]
        then = [one for one in self.readings if WARM * self.total < one.done <= 2 * WARM * self.total]
        memory, blocks = (float(np.median([getattr(one, what) for one in then])) for what in ("memory", "blocks"))
        slope = np.polyfit([one.done for one in later], [one.memory for one in later], 1)[0]
        middle = self._middle or (Counter[str](), 0)
        grown = {name: n - middle[0][name] for name, n in objects().items() if n > middle[0][name]}
        return {
            "done": self.readings[-1].done,
            "seconds": self.readings[-1].seconds,
            "memory": round(max(one.memory for one in later) / memory, 4),
            "memory MiB after warm-up": round(memory / 2**20, 1),
            "bytes a unit": round(float(slope), 3),
            "blocks": round(max(one.blocks for one in later) / blocks, 4),
            "descriptors": {"warm-up": self.open_then, "later": self.open_later, "before": self._first[0]},
            "threads": {"warm-up": self.threads_then, "later": self.threads_later, "before": self._first[1]},
            "left": {"descriptors": descriptors(), "threads": self._threads(), "workers": len(self._workers())},
            "names": sorted(thread.name for thread in threading.enumerate()),
            "grown": dict(Counter(grown).most_common(8)),
            "readings": [asdict(one) for one in self.readings],
        }


def pooled() -> int:
    """Threads of asyncio's pool."""
    return sum(thread.name.startswith("asyncio_") for thread in threading.enumerate())


def faults(name: str, found: dict[str, Any]) -> list[str]:
    """What of the promises did not hold, with what it may be."""
    told = []
    if found["memory"] > ALLOWED:
        told.append(
            f"{name}: memory grew to {found['memory']:.3f} × that after warm-up, {found['bytes a unit']:g} bytes a "
            f"unit; objects that grew: {found['grown'] or 'none'}"
        )
    for what in ("descriptors", "threads"):
        seen = found[what]
        if (seen["later"] or 0) > (seen["warm-up"] or 0):
            told.append(f"{name}: {what} grew from {seen['warm-up']} to {seen['later']}")
        if found["left"][what] > seen["before"]:
            names = f": {', '.join(found['names'])}" if what == "threads" else ""
            told.append(f"{name}: {found['left'][what]} {what} are left, {seen['before']} were there before{names}")
    if found["left"]["workers"]:
        told.append(f"{name}: {found['left']['workers']} workers are left")
    return told


PROMISES = 6  # that `faults` looks at: memory, two of descriptors, two of threads, workers


def proportional(process: int | str = "self") -> int:
    """Bytes of memory of a process, its share of what it shares, pages of files aside; 0 of one that is gone."""
    try:
        told = Path(f"/proc/{process}/smaps_rollup").read_text()
    except OSError:
        return 0
    return 1024 * sum(int(told.partition(f"\n{kind}:")[2].split(maxsplit=1)[0]) for kind in ("Pss_Anon", "Pss_Shmem"))
