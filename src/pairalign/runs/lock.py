"""One command at a time in a place: a lock that ends with its process, however that ends.

    with hold(run / ".lock", "out='run'"): ...   # a lock file that stays
    with alone("shards"): ...                    # one beside a file or folder that is written, which goes again
    @alone_at_out                                # the same for a function whose `out` that is

Note:
    It is a record lock, which loader workers do not inherit, so that those of a killed run keep nobody out; a second
    run in the same process is told apart by hand. A file system without locks, or one that cannot be written, is not
    guarded.
"""

from __future__ import annotations

import errno
import functools
import inspect
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from threading import Lock
from typing import ParamSpec, TypeVar

from pairalign.core.errors import StorageError
from pairalign.files import DISK_FULL, storage_error

P = ParamSpec("P")
R = TypeVar("R")

_here: set[Path] = set()
_mine: ContextVar[frozenset[Path]] = ContextVar("_mine", default=frozenset())
_looking = Lock()
_CHILDREN = "PAIRALIGN_HELD"  # tells processes that this one starts what it holds
_WAIT = 0.05  # seconds between two looks at a lock that another holds


@contextmanager
def alone(out: str | os.PathLike[str], *, wait: bool = False) -> Iterator[None]:
    """Keep every other command out of a file or folder that this one writes, there or not; raise `StorageError`, with
    nothing changed, where one is at work there. wait: for it, instead.

    What a command calls in the block may ask for the same place again, and so may the processes that it starts. The
    lock file lies beside it, because a folder may have to be empty; inside, where nothing can be written beside it.
    """
    path = Path(out).resolve()
    if path in _mine.get() or str(path) in _of_parent():
        yield
        return
    beside, home = path.with_name(f".{path.name}.lock"), path.parent
    lock = path / ".lock" if path.is_dir() and not os.access(home, os.W_OK) else beside
    made = _make(home)
    try:
        with hold(lock, f"out={str(out)!r}", keep=False, wait=wait), _owned(path):
            yield
    finally:
        for folder in made:
            with suppress(OSError):  # something is in it
                folder.rmdir()


def alone_at_out(function: Callable[P, R]) -> Callable[P, R]:
    """The same function, which has the place that its argument `out` names for itself while it works."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        told = signature.bind(*args, **kwargs)
        told.apply_defaults()
        with alone(told.arguments["out"]):
            return function(*args, **kwargs)

    return call


@contextmanager
def _owned(path: Path) -> Iterator[None]:
    """Remember, for what is called and for processes that are started, that a place is held."""
    token, before = _mine.set(_mine.get() | {path}), os.environ.get(_CHILDREN)
    os.environ[_CHILDREN] = json.dumps([os.getpid(), *map(str, _mine.get())])
    try:
        yield
    finally:
        _mine.reset(token)
        if before is None:
            os.environ.pop(_CHILDREN, None)
        else:
            os.environ[_CHILDREN] = before


def _of_parent() -> list[str]:
    """The places that the process which started this one holds."""
    process, *paths = json.loads(os.environ.get(_CHILDREN, "[0]"))
    return [] if process == os.getpid() else paths


@contextmanager
def hold(path: Path, what: str, *, keep: bool = True, wait: bool = False) -> Iterator[None]:
    """Hold the lock file `path`; raise `StorageError` if another run, of this process or another one, does.

    what: is held, for the message. keep: leave the file, empty, behind. wait: for whoever holds it, instead.
    """
    place = path.resolve()
    while (number := _take(path, place, what, wait)) is None:
        time.sleep(_WAIT)
    if number < 0:  # read-only: nobody can write here
        yield
        return
    try:
        with suppress(OSError):  # on a full disk it holds without saying whose it is
            os.ftruncate(number, 0)
            os.write(number, str(os.getpid()).encode())
        yield
    finally:
        with suppress(OSError):
            if keep:
                os.ftruncate(number, 0)
            else:
                path.unlink()
        os.close(number)
        _here.discard(place)  # last: a record lock is the process's, and ends with any descriptor of the file


def _take(path: Path, place: Path, what: str, wait: bool) -> int | None:
    """A descriptor of the locked file, −1 where nobody can lock; `None` to look again later. With a descriptor, the
    place is in `_here`: threads of one process are told apart by that alone."""
    with _looking:
        mine = place not in _here
        if mine:
            _here.add(place)
    if not mine:
        if wait:
            return None
        raise _taken(what, os.getpid())
    number = None
    try:
        number = _open_locked(path, what, wait)
    finally:
        if number is None or number < 0:
            _here.discard(place)
    return number


def _open_locked(path: Path, what: str, wait: bool) -> int | None:
    """The same, of what other processes hold."""
    try:
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0), 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:  # what it leads to is somebody else's, and would be emptied
            raise StorageError(f"{str(path)!r} is a link, which no run makes: remove it.") from error
        if error.errno in DISK_FULL:
            raise storage_error(error, path) from error
        return -1
    try:
        if _lock(number) and _is_at(number, path):
            return number
        if not wait and _is_at(number, path):
            raise _taken(what, os.pread(number, 20, 0).decode() or "unknown")
    except BaseException:
        os.close(number)
        raise
    os.close(number)  # somebody holds it, or its holder has just taken it away
    return None


def _lock(number: int) -> bool:
    import fcntl

    try:
        fcntl.lockf(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN)  # else: no locks here
    return True


def _is_at(number: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(number), os.stat(path))
    except OSError:
        return False


def _make(folder: Path) -> list[Path]:
    """Make a folder; those that were not there, innermost first."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in DISK_FULL:
            raise storage_error(error, folder) from error
    return missing


def _taken(what: str, process: object) -> StorageError:
    return StorageError(
        f"{what}: another run is at work there (process {process}): wait for it, or choose another `out`."
    )
