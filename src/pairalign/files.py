"""What is written to disk: under a temporary name first, then renamed; and how files are hashed.

    with replacing(path) as partial:
        save_file(tensors, partial)

Where it bites: a file is there whole or not at all, also after a kill; the temporary name begins with a dot, ends in
the process's number, and lies in the same folder, because only there renaming is one step.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary name beside `path`, for a file or a folder, that becomes `path` when the block ends without an error.

    A folder at `path` is not replaced: it must not be there. What was written is removed where the block fails.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)
        raise


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write a whole file or nothing, in UTF-8."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return Path(path)


def write_json(path: str | os.PathLike[str], value: Any, **options: Any) -> Path:
    """Write a value as JSON, indented by 1 unless `options` of `json.dumps` say otherwise."""
    return write_text(path, json.dumps(value, **{"indent": 1, **options}) + "\n")


def sha256_file(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_text(text: str) -> str:
    """SHA-256 of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()
