"""One run at a time in a folder: a lock that ends with its process, however that ends.

Where it bites: it is a record lock, which loader workers do not inherit, so that those of a killed run keep nobody
out; a second run in the same process is told apart by hand. A file system without locks, or one that cannot be
written, is not guarded.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pairalign.core.errors import StorageError

_here: set[Path] = set()


@contextmanager
def hold(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file `path`; raise `StorageError` if another run, of this process or another one, does."""
    place = path.resolve()
    if place in _here:
        raise _taken(what, os.getpid())
    try:
        file = path.open("a+", encoding="utf-8")
    except OSError:  # read-only: nobody can write here
        yield
        return
    with file:
        _lock(file.fileno(), path, what)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        _here.add(place)
        try:
            yield
        finally:
            _here.discard(place)
            file.truncate(0)


def _lock(number: int, path: Path, what: str) -> None:
    import fcntl

    try:
        fcntl.lockf(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise _taken(what, path.read_text(encoding="utf-8") or "unknown") from error


def _taken(what: str, process: object) -> StorageError:
    return StorageError(
        f"{what}: another run is at work there (process {process}): wait for it, or choose another `out`."
    )
