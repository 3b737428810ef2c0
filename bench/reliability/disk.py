"""A disk that is full, at moments spread over all that a verb writes: one clear line, nothing half-written, and after
room is made the same command ends as if nothing had been.

Each verb runs undisturbed once, on a memory disk of `ROOM` bytes. Then, half of the moments are sizes of the disk, k/n
of the most that it ever held; in the other half somebody else fills it up when the verb opens its k-th file to write.
Checked are the exit code (2), the one line, that no file is half there and every one can be read, that no process is
left, and, when the same command has run again with room, every file against the undisturbed one's.
A section that was stopped goes on with the verbs that were not tried.

Note:
    Mounting needs root; without it, run under `unshare -Urm`. Commands are forks of this process, which has everything
    imported, so that thousands of them take no hours.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from undisturbed import differences

from pairalign.cli.main import main
from pairalign.demo import run as demo
from pairalign.demo.stage_two import LessonSize

from .disk_files import half_written
from .disk_verbs import Verb, make, verbs

COUNT = 20  # moments of a verb
ROOM = 96 * 2**20  # bytes of the disk
PATIENCE = 600.0  # seconds for one command
FULL = "the disk is full"
SMALL = demo.DemoSize(train=64, pool=24, steps=3, lessons=LessonSize(train=48, held=12, steps=2))
NOTES = ("device: ", "note: ", "Loading weights: ", "Writing model shards: ", "\x1b[A")  # and bars of transformers


def measure(work: Path, count: int, seed: int, only: str = "") -> dict[str, Any]:
    """Try `count` moments of every verb in the folder `work`; see `bench/faults.py` for what is returned.

    only: verbs whose name has this in it.
    """
    torch.set_num_threads(1)
    demo.FAST = SMALL
    known = _Known(work / "tried.json", count, seed)
    with _disk(work / "disk") as disk, _served(work / "data") as address:
        chosen = [verb for verb in verbs(address) if only in verb.name]
        for verb in tqdm(chosen, desc="disk", unit="verb"):
            if verb.name not in known.verbs:
                moments = max(2, round(count * verb.share))
                known.keep(verb.name, moments, *_try_verb(Place(work, disk), verb, moments, seed))
        by_verb = {verb.name: known.verbs[verb.name] for verb in chosen}
    failures = [f"{name}, {text}" for name, told in by_verb.items() for text in told["failures"]]
    tried = sum(told["tried"] for told in by_verb.values())
    return {
        "section": "disk",
        "what": "disk full at moments of each verb: one clear line, nothing half-written, goes on after room is made",
        "tried": tried,
        "held": tried - len(failures),
        "failures": failures,
        "settings": {"count": count, "seed": seed, "disk": f"{ROOM // 2**20} MiB tmpfs"},
        "met a full disk": sum(told["met"] for told in by_verb.values()),
        "verbs": {name: told["tried"] for name, told in by_verb.items()},
    }


class _Known:
    """What was tried before by the same command, so that one that was stopped goes on."""

    def __init__(self, path: Path, count: int, seed: int) -> None:
        self.path, self.asked, self.verbs = path, [count, seed], dict[str, Any]()
        if path.exists() and (told := json.loads(path.read_text()))["asked"] == self.asked:
            self.verbs = told["verbs"]

    def keep(self, name: str, tried: int, met: int, failures: list[str]) -> None:
        """Note a verb, and say what failed. met: how often the disk was full for it."""
        for text in failures:
            tqdm.write(f"{name}, {text}")
        self.verbs[name] = {"tried": tried, "met": met, "failures": failures}
        self.path.write_text(json.dumps({"asked": self.asked, "verbs": self.verbs}, indent=1))


@dataclass(frozen=True)
class Place:
    """Where a verb is tried: `full` gets full by a file in `disk`, `roomy` never does."""

    work: Path
    disk: Path

    @property
    def full(self) -> Path:
        return self.disk / "home"

    @property
    def roomy(self) -> Path:
        return self.work / "roomy"

    @property
    def used(self) -> int:
        """Bytes that are held now, a filler aside."""
        told = os.statvfs(self.disk)
        with suppress(OSError):
            return (told.f_blocks - told.f_bfree) * told.f_frsize - (self.disk / "filler").stat().st_blocks * 512
        return (told.f_blocks - told.f_bfree) * told.f_frsize

    def clear(self) -> None:
        """Begin anew."""
        self.make_room()
        for folder in (self.full, self.roomy):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        (self.disk / "tmp").mkdir(exist_ok=True)

    def fill(self, left: int = 0) -> None:
        """Take all room but `left` bytes."""
        told = os.statvfs(self.disk)
        size = told.f_bavail * told.f_frsize - left
        number = os.open(self.disk / "filler", os.O_WRONLY | os.O_CREAT)
        if size > 0:
            os.posix_fallocate(number, 0, size)
        os.close(number)

    def make_room(self) -> None:
        """Take the filler away."""
        (self.disk / "filler").unlink(missing_ok=True)


def _try_verb(place: Place, verb: Verb, count: int, seed: int) -> tuple[int, list[str]]:
    """At how many moments the verb failed, and what went wrong, a text for each moment where something did."""
    whole = place.work / "whole"
    place.clear()
    peak, opened = _undisturbed(place, verb)
    shutil.rmtree(whole, ignore_errors=True)
    shutil.copytree(place.full, whole / "home", symlinks=True)
    shutil.copytree(place.roomy, whole / "roomy", symlinks=True)
    pages = max(1, peak // 4096)
    sizes = sorted({k * pages // (count - count // 2) for k in range(count - count // 2)})
    random.seed(seed)
    numbers = sorted({1 + k * opened // (count - len(sizes)) for k in range(count - len(sizes))})
    moments = [("size", size) for size in sizes] + [("file", number) for number in numbers]
    moments += [("file", random.randint(1, opened)) for _ in range(count - len(moments))]
    met, failures = 0, []
    for kind, number in tqdm(moments, desc=verb.name, unit="moment", leave=False):
        place.clear()
        failed, wrong = _try_moment(place, verb, kind, number, whole)
        met += failed
        if wrong:
            failures.append(f"{kind} {number} of {pages if kind == 'size' else opened}: {wrong}")
    return met, failures


def _undisturbed(place: Place, verb: Verb) -> tuple[int, int]:
    """Most bytes that the disk held, and how many files were opened to write."""
    counter, before, peak = place.work / "opened", place.used, 0

    def look() -> None:
        nonlocal peak
        peak = max(peak, place.used - before)

    ran = _run(place, verb, look=look, counter=counter)
    if ran.code != 0:
        raise SystemExit(f"{verb.name}: ended with {ran.code} undisturbed:\n{ran.said}")
    return peak, int(counter.read_text())


def _try_moment(place: Place, verb: Verb, kind: str, number: int, whole: Path) -> tuple[bool, str | None]:
    """Whether the verb failed, and what was wrong."""
    if kind == "size":
        place.fill(left=number * 4096)
    ran = _run(place, verb, fill_at=number if kind == "file" else 0)
    failed = ran.code != 0
    wrong = _badly_said(verb, ran) if failed or ran.left else None
    wrong = wrong or half_written(place.full) or half_written(place.roomy)
    place.make_room()
    if wrong:
        return failed, wrong
    ran = _run(place, verb)
    if ran.code != 0:
        return failed, f"with room, the same command ends with {ran.code}: {ran.said[-300:]}"
    found = [*differences(whole / "home", place.full), *differences(whole / "roomy", place.roomy)]
    return failed, f"with room, {len(found)} differences: {found[0]}" if found else None


def _badly_said(verb: Verb, ran: Ran) -> str | None:
    """What a command that failed did otherwise than end with 2 and one line that names a file and says what is full."""
    lines = [line for line in re.split(r"[\r\n]+", ran.said) if line and not line.startswith((*NOTES, *verb.notes))]
    told = " | ".join(lines)[-400:]
    if ran.code != 2:
        return f"hung: {told}" if ran.code is None else f"exit code {ran.code}: {told}"
    if len(lines) != 1 or not lines[0].startswith("pairalign: ") or FULL not in lines[0]:
        return f"said {told!r}"
    if "'a file'" in lines[0]:
        return f"names no file: {told!r}"
    return f"processes {ran.left} are left" if ran.left else None


@dataclass(frozen=True)
class Ran:
    """code: None for a hang. left: processes of the command that outlived it."""

    code: int | None
    said: str
    left: list[int]


def _run(place: Place, verb: Verb, *, look: Any = None, counter: Path | None = None, fill_at: int = 0) -> Ran:
    """A command in a fork. look: called all the while. counter: where it writes how many files it opened to write.
    fill_at: the number of the file that finds the disk full."""
    log = place.work / "log"
    log.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        _be(place, verb, log, counter, fill_at)
    end, code = time.monotonic() + PATIENCE, None
    while time.monotonic() < end:
        process, status = os.waitpid(child, os.WNOHANG)
        if process:
            code = os.waitstatus_to_exitcode(status)
            break
        if look is not None:
            look()
        time.sleep(0.001)
    until = time.monotonic() + 5
    while (left := _session(child)) and code is not None and time.monotonic() < until:
        time.sleep(0.01)
    for process in left:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    if code is None:
        os.waitpid(child, 0)
    return Ran(code, log.read_text(errors="replace"), left)


def _be(place: Place, verb: Verb, log: Path, counter: Path | None, fill_at: int) -> None:
    """Become the command; never returns."""
    code, opened = 99, 0
    places = {"data": place.work / "data", "roomy": place.roomy, "full": place.full}
    try:
        os.setsid()
        os.chdir(place.full)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        sys.stdout, sys.stderr = open(1, "w"), open(2, "w")  # noqa: SIM115
        os.environ |= {name: value.format(**places) for name, value in verb.environment.items()}
        os.environ["TMPDIR"] = tempfile.tempdir = str(place.disk / "tmp")
        home = str(place.full)

        def hook(event: str, told: tuple[Any, ...]) -> None:
            nonlocal opened
            if event != "open" or not isinstance(told[2], int) or not told[2] & (os.O_WRONLY | os.O_RDWR):
                return
            if os.path.abspath(os.fsdecode(told[0])).startswith(home) if isinstance(told[0], str | bytes) else False:
                opened += 1
                if opened == fill_at:
                    place.fill()

        sys.addaudithook(hook)
        code = main([word.format(**places) for word in verb.words])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        if counter is not None:
            counter.write_text(str(opened))
        os._exit(code)


def _session(leader: int) -> list[int]:
    """Processes of a session, its leader aside."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            told = entry.read_text().rpartition(")")[2].split()
            if int(told[3]) == leader and int(entry.parent.name) != leader and told[0] != "Z":
                found.append(int(entry.parent.name))
    return found


@contextmanager
def _disk(folder: Path) -> Iterator[Path]:
    """A disk in memory."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{done.stderr.strip()}: a disk cannot be mounted: run this under `unshare -Urm`.")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


@contextmanager
def _served(data: Path) -> Iterator[str]:
    """Make the data, and serve its shards."""
    if not data.exists():
        make(data)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(data)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        address = f"http://127.0.0.1:{port}/remote"
        try:
            for _ in range(200):
                with suppress(OSError):
                    urllib.request.urlopen(f"{address}/index.json").close()
                    break
                time.sleep(0.05)
            yield address
        finally:
            server.kill()
