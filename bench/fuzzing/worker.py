"""One reader at work: damaged file after damaged file, each judged; as a program, in a process that `watch` follows.

A reader may read a case or raise a `PairalignError`. Anything else is a finding: another exception, an allocation that
failed (however it was explained), and more than `MEMORY` above what the process had before its first case.

Note:
    Memory is the kernel's own high-water mark, set back before every case (/proc/self/clear_refs), so that one large
    case does not hide the next; and the address space is bounded, so that a bomb does not take the machine along.
"""

from __future__ import annotations

import gc
import os
import random
import resource
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from fuzzing.mailbox import LARGEST, Case, Mailbox
from fuzzing.readers import Reader, make_reader
from fuzzing.record import Record
from pairalign.core.errors import PairalignError

MEMORY = 1 << 30  # bytes that a case may take
ADDRESSES = 4 << 30  # bytes of address space that it may ask for
SAVE_EVERY = 5.0  # CPU seconds


class Verdict(NamedTuple):
    """outcome: "read", "refused" or the kind of a finding. said: an error's text. peak: bytes above `before`."""

    outcome: str
    said: str
    seconds: float
    peak: int


def draw_case(reader: Reader, draw: random.Random) -> Case:
    """A damaged file of one of a reader's doors."""
    name = draw.choice(list(reader.doors))
    door = reader.doors[name]
    return Case(name, door.change(draw.choice(door.good), draw, door.good)[:LARGEST])


def judge(read: Callable[[bytes], object], data: bytes, before: int) -> Verdict:
    """Read one case. before: bytes that the process had before its first one (`memory_now`)."""
    start, said = time.process_time(), ""
    forget_peak()
    try:
        read(data)
        outcome = "read"
    except PairalignError as error:
        outcome, said = "refused", str(error)
        if _out_of_memory(error):
            outcome = f"memory asked for: {_place(error)}"
    except Exception as error:
        outcome, said = f"{type(error).__name__} at {_place(error)}", str(error)
    peak = peak_memory() - before
    if peak > MEMORY:
        outcome = "memory: more than 1 GiB"
        said = said or f"{peak / 2**20:.0f} MiB"
        gc.collect()
    return Verdict(outcome, said, time.process_time() - start, peak)


def _out_of_memory(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError) and not type(error).__module__.startswith("av"):  # ffmpeg's own bound
            return True
        error = error.__cause__ or error.__context__
    return False


def _place(error: BaseException) -> str:
    """Where an error came from: the last line of ours that it passed."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if f"{os.sep}pairalign" in frame.filename]
    last = (ours or frames)[-1]
    return f"{Path(last.filename).name}:{last.lineno}"


def forget_peak() -> None:
    """Set the high-water mark of this process's memory back to what it has now, where the kernel lets it."""
    with suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def memory_now() -> int:
    """The memory that this process has now, bytes: what a case's peak is measured from."""
    forget_peak()
    return peak_memory()


def peak_memory() -> int:
    """The high-water mark, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def check_good(reader: Reader) -> None:
    """Raise `ValueError` unless every good file is read."""
    for name, door in reader.doors.items():
        for number, data in enumerate(door.good):
            try:
                door.read(data)
            except Exception as error:
                raise ValueError(f"{reader.name}: good file {number} of {name} is not read: {error!r}") from error


def fuzz(reader: Reader, record: Record, seconds: float, put: Callable[[Case], None], save: Callable[[], None]) -> None:
    """Cases until `record` has so many CPU seconds, each given to `put` before it is read."""
    draw = random.Random(f"{record.seed} {reader.name} {record.cases}")
    before, spent, saved = memory_now(), record.seconds, 0.0
    start = time.process_time()
    while record.seconds < seconds:
        case = draw_case(reader, draw)
        put(case)
        verdict = judge(reader.doors[case.door].read, case.data, before)
        first = False
        if verdict.outcome in ("read", "refused"):
            setattr(record, verdict.outcome, getattr(record, verdict.outcome) + 1)
        else:
            first = record.found(verdict.outcome, verdict.said, *case)
        record.slowest = max(record.slowest, round(verdict.seconds, 3))
        record.peak_mib = max(record.peak_mib, round(verdict.peak / 2**20, 1))
        now = time.process_time() - start
        record.seconds = round(spent + now, 3)
        if first or now - saved > SAVE_EVERY:
            saved = now
            save()


def main() -> None:
    """NAME SECONDS SEED WORK OUT: fuzz one reader in the folder WORK, and keep the record OUT."""
    name, seconds, seed, work, out = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), *map(Path, sys.argv[4:])
    warnings.simplefilter("ignore")
    mailbox = Mailbox(work / "case")
    home = work / "home"
    home.mkdir()
    os.chdir(home)
    reader = make_reader(name, home)
    record = Record.load(out) if out.exists() else Record(name, seed)
    check_good(reader)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libtiff complains of every case
    os.dup2(2, 1)
    _bound_addresses()
    fuzz(reader, record, seconds, mailbox.put, lambda: record.save(out))
    record.finished = True
    record.save(out)


def _bound_addresses() -> None:
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + ADDRESSES, now + ADDRESSES))


if __name__ == "__main__":
    main()
