"""Commands as groups of processes: forks of this warm process, signalled from outside at a moment, and watched.

A fork has everything imported, so that a run of a second can be killed hundreds of times.

Note:
    This process must stay without threads and without a computation of torch's, whose pools do not survive a fork; what
    is prepared is prepared in forks, too. Needs Linux's /proc.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from forked import fork_command

PATIENCE = 120.0  # seconds from a signal to the end of every process
AGENT = 25.0  # seconds after which those that outlive a process get SIGTERM, as torchrun sends it at once
GONE = 15.0  # seconds in which processes that another one started have to follow it
POLL = 0.0005


@dataclass(frozen=True)
class Moment:
    """When a signal comes: `after` seconds from the start, or from when `file` is begun for the `nth` time."""

    after: float
    file: str = ""
    nth: int = 1

    def __str__(self) -> str:
        return f"{self.after:.4f} s" + (f" into writing {self.file} for the {self.nth}. time" if self.file else "")


@dataclass(frozen=True)
class End:
    """How a group ended. codes: of its processes, in order. struck: whether the signal came before they had ended.
    seconds: of the whole. left: what was there `GONE` later, or did not end at all."""

    codes: tuple[int, ...]
    struck: bool
    seconds: float
    left: tuple[str, ...] = ()


def run_group(
    folder: Path,
    words: Sequence[str],
    processes: int,
    number: int = 0,
    moment: Moment | None = None,
    victim: int | None = None,
    *,
    cold: bool = False,
) -> End:
    """Run a command in `folder` with one or more processes, as torchrun starts them, and signal it at a moment.

    number: the signal, 0 for none. victim: which process alone is signalled; None for the whole group. cold: start
    Python anew, with the first process left to start the others.
    """
    started = time.monotonic()
    children = [_start(folder, words)] if cold else _fork(folder, words, processes)
    group, codes = children[0], dict[int, int]()
    struck = False
    if moment is not None and _wait_for(moment, folder, started, children, codes):
        target = None if victim is None else children[victim]
        struck = target not in codes
        if struck:
            _send(number, target, group)
    told = time.monotonic()
    deadline, agent = told + PATIENCE, told + AGENT
    while len(codes) < len(children) and (moment is None or time.monotonic() < deadline):
        _collect(children, codes)
        if codes and struck and time.monotonic() > agent:
            _send(signal.SIGTERM, None, group)
            agent = deadline
        time.sleep(0.005)
    seconds = time.monotonic() - started
    left = _left(group, time.monotonic() + GONE) if number else ()
    for one in _members(group):
        _send(signal.SIGKILL, one, group)
    for child in children:
        if child not in codes:
            os.waitpid(child, 0)
    return End(tuple(codes.get(child, -signal.SIGKILL) for child in children), struck, seconds, left)


def _fork(folder: Path, words: Sequence[str], processes: int) -> list[int]:
    children: list[int] = []
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    for rank in range(processes):
        told = {"RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0", "ROLE_RANK": str(rank)}
        told |= {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1"}
        told |= {"MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "kills"}
        children.append(fork_command(folder, words, told if processes > 1 else None, children[0] if children else 0))
    return children


def _start(folder: Path, words: Sequence[str]) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log").open("ab") as log:
        command = [sys.executable, "-m", "pairalign", *words]
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, process_group=0).pid


def _wait_for(moment: Moment, folder: Path, started: float, children: list[int], codes: dict[int, int]) -> bool:
    """Wait for a moment; false where every process ends before."""
    begun, seen = started if not moment.file else None, set[tuple[str, int]]()
    while begun is None or time.monotonic() < begun + moment.after:
        _collect(children, codes)
        if len(codes) == len(children):
            return False
        if begun is None:
            seen |= set(_partials(folder, moment.file))
            begun = time.monotonic() if len(seen) >= moment.nth else None
        time.sleep(POLL)
    return True


def _partials(folder: Path, file: str) -> Iterator[tuple[str, int]]:
    """The half-written files of a name, each once."""
    for home, folders, names in os.walk(folder):  # which bears that folders go meanwhile
        for name in (*folders, *names):
            if name.startswith(f".{file}") and ".partial" in name:
                with suppress(OSError):
                    yield name, os.stat(os.path.join(home, name)).st_ino


def _collect(children: Sequence[int], codes: dict[int, int]) -> None:
    for child in children:
        if child not in codes:
            found, status = os.waitpid(child, os.WNOHANG)
            if found:
                codes[child] = os.waitstatus_to_exitcode(status)


def _send(number: int, target: int | None, group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number) if target is None else os.kill(target, number)


def _left(group: int, deadline: float) -> tuple[str, ...]:
    """What of a group is still there at the deadline, as its command lines."""
    while members := _members(group):
        if time.monotonic() > deadline:
            return tuple(_line(one) for one in members)
        time.sleep(0.02)
    return ()


def _line(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()[:120]
    except OSError:
        return "gone"


def _members(group: int) -> list[int]:
    """The living processes of a group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, one = stat.read_text().rpartition(")")[2].split()[:3]
        except (OSError, ValueError):
            continue
        if int(one) == group and state != "Z":
            found.append(int(stat.parent.name))
    return found
