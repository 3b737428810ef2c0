"""What is written to disk: under a temporary name first, then renamed; and how files are hashed.

    with replacing(path) as partial:
        image.save(partial, "png")
    save_tensors(path, tensors)

Note:
    A file is there whole or not at all, also after a kill. The temporary name lies in the same folder, because only
    there renaming is one step, and says whose it is: `.NAME.partial-PROCESS-MACHINE`. What a dead process left behind
    goes when the same name is written again, or with `remove_leftovers`.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pairalign.core.errors import StorageError

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSED = (*DISK_FULL, errno.EROFS, errno.EACCES, errno.EPERM)
_STRANGE_FOR = 24 * 3600.0  # seconds after which a leftover of another machine, whose processes are not seen, goes
_OS_ERROR = re.compile(r"\(os error (\d+)\)")  # as libraries written in Rust put it


@contextmanager
def replacing(
    path: str | os.PathLike[str], *, durable: bool = False, sweep: bool = True, inside: bool = False
) -> Iterator[Path]:
    """A temporary name beside `path`, for a file or a folder, that becomes `path` when the block ends without an error.

    A folder at `path` is replaced only if it is empty. What was written is removed where the block fails.
    durable: also outlive a power cut, which costs a wait for the disk. sweep: look for what killed processes left of
    this name, which reads the folder's list of names; a writer of thousands of files does it once, before the first.
    inside: give a name in a temporary folder, for a library that has temporary files of its own beside what it writes.

    Raises:
        StorageError: the disk is full, or the folder cannot be written.
    """
    path = Path(path)
    partial = partial_of(path)
    held = partial / path.name if inside else partial
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if sweep:
            remove_leftovers(path.parent, path.name)
        remove(partial)  # of a process that had this number before
        if inside:
            partial.mkdir()
        yield held
        if durable:
            _flush(held)
        os.replace(held, path)
        if inside:
            remove(partial)
    except BaseException as error:
        remove(partial)
        failed = _failed_write(error, (held, partial, partial.parent))
        if failed is not None:
            raise storage_error(failed, path) from error
        raise


def is_partial(path: str | os.PathLike[str]) -> bool:
    """Whether a file is called as one that is being written, by whatever process."""
    return ".partial-" in Path(path).name


def partial_of(path: str | os.PathLike[str]) -> Path:
    """The temporary name of a file that this process writes."""
    path = Path(path)
    return path.with_name(f".{path.name}.partial-{os.getpid()}-{_machine()}")


def remove_leftovers(folder: str | os.PathLike[str], name: str = "*") -> None:
    """Remove what processes that are gone left half-written in a folder, of every name or of one."""
    prefix = f".{'' if name == '*' else name + '.partial-'}"
    for found in sorted(Path(folder).glob(".*.partial*")):
        if found.name.startswith(prefix) and _ownerless(found):
            remove(found)


def remove(path: Path) -> None:
    """Remove a file or a whole folder of ours; nothing where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):  # it is not there, or whoever writes it next says what is wrong
            path.unlink()


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write a whole file or nothing, in UTF-8."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return Path(path)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write a whole file or nothing."""
    with replacing(path) as partial:
        partial.write_bytes(data)
    return Path(path)


def write_json(path: str | os.PathLike[str], value: Any, **options: Any) -> Path:
    """Write a value as JSON, indented by 1 unless `options` of `json.dumps` say otherwise."""
    return write_text(path, json.dumps(value, **{"indent": 1, **options}) + "\n")


def save_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Any], about: Mapping[str, str] | None = None
) -> Path:
    """Write a whole safetensors file or nothing. about: its metadata."""
    from safetensors.torch import save_file

    with replacing(path, inside=True) as partial:  # it writes under a random name first, which a kill leaves behind
        save_file(dict(tensors), partial, metadata=None if about is None else dict(about))
    return Path(path)


def append_line(path: str | os.PathLike[str], text: str) -> None:
    """Append one line, whole or not at all: what a full disk cut off is taken back."""
    with writing(path), open(path, "ab", buffering=0) as file:
        before, data = file.seek(0, os.SEEK_END), f"{text}\n".encode()
        try:
            while data:
                data = data[file.write(data) :]
        except OSError:
            with suppress(OSError):
                file.truncate(before)
            raise


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn the operating system's refusals in a block that only writes `path` into `StorageError`."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, path) from error


def check_writable(folder: str | os.PathLike[str], fix: str) -> None:
    """Raise `StorageError`, with what to do about it, where a folder that may not exist yet could not be written."""
    if reason := why_unwritable(folder):
        raise StorageError(f"{str(folder)!r} cannot be written, {reason}: {fix}.")


def storage_error(error: OSError, path: str | os.PathLike[str]) -> StorageError:
    """One line on a file that could not be written: which, why, and what to do."""
    if error.errno in DISK_FULL:
        return StorageError(f"{str(path)!r}: the disk is full: free space and run the same command again.")
    reason = error.strerror or error
    return StorageError(f"{str(path)!r} cannot be written ({reason}): check the folder, or choose another one.")


def why_unwritable(folder: str | os.PathLike[str]) -> str | None:
    """Why nothing can be written into a folder that may not exist yet, or `None`; makes nothing."""
    there = Path(folder).absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        return f"{str(there)!r} is a file"
    return None if os.access(there, os.W_OK | os.X_OK) else f"{str(there)!r} may not be written"


def stays_inside(path: str | os.PathLike[str], root: str | os.PathLike[str]) -> bool:
    """Whether a path leads, by whatever links, to a place in the folder `root`; the cache of the Hugging Face hub,
    whose files are links to its own `blobs`, counts as one folder."""
    real, home = Path(os.path.realpath(path)), Path(os.path.realpath(root))
    if real.is_relative_to(home):
        return True
    if "snapshots" not in home.parts:
        return False
    return real.is_relative_to(Path(*home.parts[: home.parts.index("snapshots")]) / "blobs")


def sha256_file(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_text(text: str) -> str:
    """SHA-256 of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def _machine() -> str:
    return re.sub(r"[^A-Za-z0-9]", "_", os.uname().nodename if hasattr(os, "uname") else "")[:40] or "here"


def _ownerless(partial: Path) -> bool:
    """Whether no living process can be writing this; one of another machine is believed for a day, and a name without
    a process may be anybody's."""
    match = re.fullmatch(r".*\.partial-(\d+)(?:-(\w+))?", partial.name)
    if match is None:
        return False
    process, machine = match.groups()
    if machine not in (None, _machine()):
        try:
            return time.time() - partial.stat().st_mtime > _STRANGE_FOR
        except OSError:  # gone already
            return False
    return int(process) == os.getpid() or not _alive(int(process))


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        return True
    try:  # one that ended, and that its new parent has yet to collect, is there by number alone
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (OSError, IndexError):  # not Linux
        return True


def _flush(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _failed_write(error: BaseException, places: tuple[Path, ...]) -> OSError | None:
    """The operating system's refusal behind an error in writing in these places, if that is what it was."""
    if isinstance(error, OSError):
        ours = error.filename is not None and Path(os.fsdecode(error.filename)) in places
        return error if error.errno in DISK_FULL or ours else None
    match = _OS_ERROR.search(str(error))
    number = int(match.group(1)) if match and isinstance(error, Exception) else 0
    return OSError(number, os.strerror(number)) if number in _REFUSED else None
