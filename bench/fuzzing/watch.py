"""Standing outside of a reader: starting its process, seeing that it hangs or dies, and starting it again.

Note:
    A case hangs when it took more than its limit of CPU seconds, of which a busy or stopped machine gives none; and a
    process that waits for something that never comes is told by the time that it was seen asleep, counted in looks of
    bounded length, so that a stopped watcher does not count either. Reads /proc, so Linux only.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from fuzzing.mailbox import Mailbox
from fuzzing.record import Record

HOME = Path(__file__).parents[1]
LOOK = 0.25  # seconds between two looks
ASLEEP = 300.0  # seconds asleep in one case that are a hang
RESTARTS = 20
START = 900.0  # CPU seconds until the first case
SHELF = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # in memory: packing waits for its disk
_TICKS = os.sysconf("SC_CLK_TCK")


def watch(name: str, seconds: float, limit: float, seed: int, out: Path) -> Record:
    """Fuzz one reader for so many CPU seconds; what was found before, in `out`, is gone on from.

    limit: CPU seconds that a case may take.
    """
    record = Record.load(out) if out.exists() else Record(name, seed)
    while not (record.finished and record.seconds >= seconds) and record.restarts <= RESTARTS:
        with tempfile.TemporaryDirectory(prefix="fuzz-", dir=SHELF) as folder:
            work = Path(folder)
            mailbox = Mailbox(work / "case")
            record.finished = False
            record.save(out)
            command = ["fuzzing.worker", name, f"{seconds:g}", f"{seed}", str(work), str(out)]
            wrong = follow([sys.executable, "-m", *command], mailbox, limit)
            record = Record.load(out)
            if wrong is None:
                continue
            if not mailbox.number:
                raise RuntimeError(f"{name}: {wrong} before its first case: python {' '.join(command)}")
            record.found(wrong, wrong, *mailbox.get())
            record.restarts += 1
            record.save(out)
    return record


def follow(command: Sequence[str], mailbox: Mailbox, limit: float) -> str | None:
    """Run a worker to its end; what went wrong with it, `None` for nothing."""
    path = os.pathsep.join(filter(None, [str(HOME), os.environ.get("PYTHONPATH")]))
    own = {"PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env={**os.environ, **own}, start_new_session=True)
    try:
        number, used, asleep = 0, 0.0, 0.0
        while process.poll() is None:
            state, cpu = look(process.pid)
            if mailbox.number != number:
                number, used, asleep = mailbox.number, cpu, 0.0
            asleep += LOOK if state in "SD" else 0.0
            if cpu - used > (limit if number else START):
                return f"hang: more than {limit:g} CPU seconds"
            if asleep > ASLEEP:
                return "hang: asleep for ever"
            time.sleep(LOOK)
        return None if process.returncode == 0 else f"died: exit code {process.returncode}"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what it started, too
        process.wait()


def look(pid: int) -> tuple[str, float]:
    """State letter and CPU seconds of a process; ("Z", 0) when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "Z", 0.0
    fields = text.rpartition(")")[2].split()
    return fields[0], (int(fields[11]) + int(fields[12])) / _TICKS
