"""A disk in memory that is soon full; a test that asks for one is skipped where nothing can be mounted."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PAGE = 4096  # bytes, in which such a disk counts


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """`folder` as a disk of so many bytes."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={max(size, PAGE)}", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("no command mount")
    if done.returncode:
        pytest.skip(f"no disk can be mounted: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path, left: int = 0) -> Path:
    """Take all of its room but so many bytes; removing the file that is returned gives it back."""
    told = os.statvfs(disk)
    filler = disk / "filler"
    number = os.open(filler, os.O_WRONLY | os.O_CREAT)
    if (size := told.f_bavail * told.f_frsize - left) > 0:
        os.posix_fallocate(number, 0, size)
    os.close(number)
    return filler
