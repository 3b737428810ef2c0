"""The cache folder of remote shards: each is fetched once a machine, checked against its SHA-256, then read as a local
one is; the least recently used go when the size limit is reached.

Note:
    A shard lies there under its SHA-256, so that data sets whose shards have the same names, or one that was packed
    anew, never meet; a shard is there whole or not at all. Several processes share the folder: one fetches a shard
    while the others wait for it. What is open is still read after it was thrown out.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from pairalign.core.errors import DataError
from pairalign.core.secrets import hide
from pairalign.data.index import ShardInfo
from pairalign.data.place import Remote
from pairalign.data.remote.transfer import stream, whole_size
from pairalign.files import DISK_FULL, partial_of, remove, remove_leftovers, replacing, storage_error, writing

FOLDER, LIMIT = "PAIRALIGN_CACHE", "PAIRALIGN_CACHE_GB"
DEFAULT_GB = 20.0
AHEAD = 2  # shards that a reader fetches before it needs them
_swept: set[Path] = set()
_sweeping = threading.Lock()
_replaced: dict[str, tuple[str | None, str | None]] = {}  # what we set a variable to, and what it was before


def use_cache(folder: str | None, gb: float | None) -> None:
    """Let this process, and those that it starts, keep remote shards in `folder` up to `gb` GiB; None for what the
    environment said before."""
    for name, value in ((FOLDER, None if folder is None else os.path.abspath(folder)), (LIMIT, gb)):
        now = os.environ.get(name)
        before = _replaced[name][1] if name in _replaced and _replaced[name][0] == now else now
        told = before if value is None else str(value)
        _replaced[name] = (told, before)
        if told is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = told


def cache_folder() -> Path:
    """Where remote shards are kept."""
    told = os.environ.get(FOLDER)
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(told) if told else Path(home) / "pairalign" / "shards"


def cache_limit() -> int:
    """Bytes that are kept at most, beside what is being read."""
    told = os.environ.get(LIMIT) or DEFAULT_GB
    try:
        found = int(float(told) * 2**30)
    except (ValueError, OverflowError):
        found = -1
    if found < 0:
        raise DataError(f"{LIMIT}={told!r}: give a number of GiB, 0 or more.")
    return found


def open_cached(place: Remote, info: ShardInfo) -> int:
    """A descriptor of a shard that was fetched, now or before; raise `DataError` where it cannot be, or is damaged."""
    for _ in range(8):  # another process may throw it out before it is opened
        path = fetch(place, info)
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue
        with suppress(OSError):  # when it was used, for whoever makes room; when it was written stays
            os.utime(descriptor, ns=(time.time_ns(), os.fstat(descriptor).st_mtime_ns))
        return descriptor
    raise DataError(f"shard {info.name} is thrown out of {str(cache_folder())!r} as soon as fetched: raise {LIMIT}.")


def fetch(place: Remote, info: ShardInfo, *, wait: bool = True, wanted: Callable[[], bool] = lambda: True) -> Path:
    """The file of a shard in the cache, fetched if it is not there. wait: for a process that fetches it now. wanted:
    asked on the way whether to go on.

    Raise `filelock.Timeout` without `wait` if there is one.
    """
    path = cache_folder() / f"{info.sha256}.tar"
    if not _there(path, info):
        _prepare(path.parent)
        with _locked(path.parent / ".locks" / info.sha256[:2], timeout=-1 if wait else 0):
            if not _there(path, info):
                _make_room(path.parent, info.bytes)
                _download(place, info, path, wanted)
    return path


def adopt(place: Remote, name: str) -> tuple[Path, str]:
    """The file in the cache of a shard of which no index tells, and its SHA-256."""
    folder, address = cache_folder(), place.file(name)
    _prepare(folder)
    size, digest = whole_size(address), hashlib.sha256()
    _make_room(folder, size or 0)
    incoming = partial_of(folder / f"{place.name}-{threading.get_ident()}.tar")
    try:
        with writing(incoming):
            with incoming.open("wb") as file:
                for piece in stream(address, size):
                    digest.update(piece)
                    file.write(piece)
            path = folder / f"{digest.hexdigest()}.tar"
            os.replace(incoming, path)
    finally:
        remove(incoming)
    return path, digest.hexdigest()


class Ahead(threading.Thread):
    """Fetches shards in the background, those that no other process is fetching; errors are left to who needs them."""

    def __init__(self, place: Remote, infos: Sequence[ShardInfo]) -> None:
        super().__init__(daemon=True)
        self.place, self.infos, self.wanted = place, infos, True
        self.start()

    def run(self) -> None:
        """See `threading.Thread`."""
        for info in self.infos:
            if self.wanted:
                with suppress(Exception):
                    fetch(self.place, info, wait=False, wanted=lambda: self.wanted)

    def stop(self) -> None:
        """Fetch no more, and leave nothing half-written; a server that says nothing is not waited for."""
        self.wanted = False
        self.join(1.0)


def _there(path: Path, info: ShardInfo) -> bool:
    try:
        return path.stat().st_size == info.bytes
    except FileNotFoundError:
        return False


def _prepare(folder: Path) -> None:
    """Make the folder, and remove what killed processes left, before this one has anything half-written there."""
    with _sweeping:
        if folder in _swept:
            return
        try:
            (folder / ".locks").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if error.errno in DISK_FULL:
                raise storage_error(error, folder) from error
            where = f"the cache of remote shards {str(folder)!r}"
            raise DataError(f"{where} cannot be made ({error.strerror}): set data.cache or {FOLDER}.") from error
        remove_leftovers(folder)
        _swept.add(folder)


def _forget_threads() -> None:
    """In a forked process: a lock that a thread of the other held is held by nobody here."""
    global _sweeping
    _sweeping = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


@contextmanager
def _locked(path: Path, timeout: float = -1) -> Iterator[None]:
    lock = FileLock(path, timeout=timeout, poll_interval=0.01)
    try:
        lock.acquire()
    except Timeout:
        raise
    except OSError as error:
        raise storage_error(error, path) from error
    try:
        yield
    finally:
        lock.release()


def _download(place: Remote, info: ShardInfo, path: Path, wanted: Callable[[], bool]) -> None:
    for _ in range(2):  # a line may also change what it carries
        with suppress(_DamagedError), replacing(path, sweep=False) as partial:
            _write(place, info, partial, wanted)
            return
    raise DataError(
        f"shard {hide(place.file(info.name))!r}: its SHA-256 is not that of the index: it is damaged, or was changed "
        "since it was packed. Upload it again, or make the index anew."
    )


class _UnwantedError(Exception):
    """Nobody needs the shard any more."""


class _DamagedError(Exception):
    """What was fetched is not what was packed."""


def _write(place: Remote, info: ShardInfo, partial: Path, wanted: Callable[[], bool]) -> None:
    digest = hashlib.sha256()
    with partial.open("wb") as file:
        for piece in stream(place.file(info.name), info.bytes):
            if not wanted():
                raise _UnwantedError
            digest.update(piece)
            file.write(piece)
    if digest.hexdigest() != info.sha256:
        raise _DamagedError


def _make_room(folder: Path, size: int) -> None:
    """Throw out the least recently used shards until `size` bytes more are within the limit."""
    limit = cache_limit()
    with _locked(folder / ".locks" / "room"):
        kept = []
        for entry in os.scandir(folder):
            if entry.name.endswith(".tar") and not entry.name.startswith("."):
                with suppress(FileNotFoundError):
                    stat = entry.stat()
                    kept.append((stat.st_atime_ns, stat.st_size, entry.path))
        total = size + sum(bytes_ for _, bytes_, _ in kept)
        for _, bytes_, path in sorted(kept):
            if total <= limit:
                return
            with suppress(FileNotFoundError):
                os.unlink(path)
            total -= bytes_
