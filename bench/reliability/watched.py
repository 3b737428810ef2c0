"""One command in a fork of this process, with a watch on what it opens, starts, removes and connects to.

Python's audit hook sees what Python does; what C code reads is seen by the time of last access of private files, and
what it writes by their bytes. Programs that a file may start stand in PATH and leave a mark.

Note:
    The fork has everything imported, so its memory includes this process's; a file system that keeps no access times
    says so.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROGRAMS = ("gs", "gswin64c", "gswin32c", "ffmpeg", "curl", "wget", "inkscape", "convert", "djpeg", "sh.exe", "open")
OURS = ("git", "uname")  # that a run asks for its version
PATIENCE = 120.0  # seconds
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn")
_CHANGES = ("os.remove", "os.rename", "os.rmdir", "os.truncate", "os.link", "os.symlink", "os.mkdir", "shutil.rmtree")
_LONG_AGO = 1_000_000_000


@dataclass
class Seen:
    """What a command did. code: of its exit, −1 where it had to be ended. peak: GiB. did: what it must not do."""

    code: int
    peak: float
    said: str
    did: list[str] = field(default_factory=list)


def watched(words: Sequence[str], home: Path, private: Path, env: dict[str, str]) -> Seen:
    """Run `pairalign WORDS` in the folder `home`: nothing may be written outside of it, nothing of `private` read."""
    marks = _programs(home)
    before = _resting(private)
    out, told = home / "said", home / "seen.json"
    child = os.fork()
    if child == 0:
        _run(words, home, private, env | {"PATH": f"{marks}{os.pathsep}{os.environ['PATH']}"}, out, told)
    code = _wait(child)
    seen = json.loads(told.read_text()) if told.exists() else {"did": [], "peak": 0.0}
    did = list(dict.fromkeys(seen["did"]))
    did += [f"read {path.name} of the user" for path in _files(private) if path.stat().st_atime > _LONG_AGO]
    if _digests(private) != before:
        did.append("changed the user's files")
    if (marks / "started").exists():
        did.append(f"started {(marks / 'started').read_text().strip()}")
    return Seen(code, seen["peak"], out.read_text(errors="replace") if out.exists() else "", did)


def keeps_access_times(folder: Path) -> bool:
    """Whether reading a file shows there."""
    path = folder / "asked"
    path.write_text("x")
    os.utime(path, (_LONG_AGO, time.time()))
    path.read_bytes()
    return path.stat().st_atime > _LONG_AGO


def _run(
    words: Sequence[str], home: Path, private: Path, env: dict[str, str], out: Path, told: Path
) -> None:  # in the fork; does not return
    from pairalign.cli.main import main

    code, did = 99, list[str]()
    try:
        os.environ.update(env)
        tempfile.tempdir = str(home)
        os.chdir(home)
        number = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(number, 1)
        os.dup2(number, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        sys.dont_write_bytecode = True
        sys.addaudithook(_hook(home, private, did))
        code = main(list(words))
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        kept = list(did)
        sys.stdout.flush()
        sys.stderr.flush()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        number = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.write(number, json.dumps({"did": kept, "peak": peak}).encode())
        os._exit(code)


def _hook(home: Path, private: Path, did: list[str]) -> Any:
    allowed, secret = (f"{home}/", "/dev/", "/proc/self/"), str(private)

    def inside(path: str) -> bool:
        return f"{path}/".startswith(allowed)

    def seen(event: str, args: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(args[0], (str, bytes)):
            path = os.path.abspath(os.fsdecode(args[0]))
            if path.startswith(secret):
                did.append(f"opened {path}")
            elif args[2] & _WRITES and not inside(path):
                did.append(f"wrote {path}")
        elif event.startswith(_STARTS):
            program = os.path.basename(str(args[0] if event != "subprocess.Popen" else args[0] or args[1][0]))
            if program not in OURS:
                did.append(f"started {program}")
        elif event == "socket.connect" and isinstance(args[1], tuple):
            did.append(f"connected to {args[1]}")
        elif event in _CHANGES:
            for path in (os.path.abspath(os.fsdecode(a)) for a in args[:2] if isinstance(a, (str, bytes))):
                if path.startswith(secret) or not inside(path):
                    did.append(f"{event} of {path}")

    return seen


def _wait(child: int) -> int:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1


def _programs(home: Path) -> Path:
    marks = home / "programs"
    marks.mkdir(parents=True, exist_ok=True)
    for name in PROGRAMS:
        program = marks / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >> {marks}/started\necho 10.0\nexit 0\n')
        program.chmod(0o755)
    return marks


def _resting(private: Path) -> dict[str, str]:
    """The digests of private files, which then look as if nobody had read them for years."""
    found = _digests(private)
    for path in _files(private):
        os.utime(path, (_LONG_AGO, time.time()))
    return found


def _digests(private: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in _files(private)}


def _files(private: Path) -> list[Path]:
    return sorted(path for path in private.rglob("*") if path.is_file())
