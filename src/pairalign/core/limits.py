"""How much one file may take, before anything is allocated for it: the one place where the bounds of all readers stand.

    check("pixels", width * height, "the picture")
    data = read_bytes(path)

Each bound is a default that an environment variable replaces, `PAIRALIGN_MAX_PIXELS=4e8`; the workers of a run inherit
it.

Note:
    A bound is of what a header promises, so a file is refused that nobody has decoded; raise it only for files that you
    made, because a few kilobytes can promise gigabytes. A process may take a few times a bound: decoded, converted and
    stored values are there at once.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pairalign.core.errors import ConfigError, DataError


class Limit(NamedTuple):
    """default: in `unit`. what: of what it is the most."""

    default: int
    unit: str
    what: str


LIMITS: dict[str, Limit] = {
    "pixels": Limit(1 << 26, "pixels", "one picture, or one frame"),
    "frames": Limit(1 << 20, "pictures", "one video, animation or file of pages"),
    "frame_pixels": Limit(1 << 27, "pixels", "the frames together that are kept of one video"),
    "decoded_pixels": Limit(1 << 34, "pixels", "the frames together that have to be decoded of one animation"),
    "values": Limit(1 << 26, "numbers", "one array, sound or cloud"),
    "points": Limit(8_000_000, "points", "one cloud, or vertices and faces of a mesh"),
    "seconds": Limit(4 * 3600, "seconds", "one sound"),
    "file": Limit(1 << 28, "bytes", "one file or member of an archive that is read as a sample"),
    "text": Limit(1 << 24, "bytes", "a text or JSON value; of each line of a manifest, too"),
    "mesh": Limit(1 << 25, "bytes", "a mesh or cloud in words: OFF, OBJ, ASCII PLY and STL"),
    "table": Limit(1 << 30, "bytes", "a manifest or another table of samples"),
    "cells": Limit(1 << 24, "cells", "a parquet table"),
    "settings": Limit(1 << 20, "bytes", "a configuration in YAML"),
    "entries": Limit(100_000, "values", "a configuration, its aliases spelled out"),
    "members": Limit(1_000_000, "members", "one shard or archive"),
    "nesting": Limit(64, "levels", "JSON and YAML, each list or mapping in another"),
}
PREFIX = "PAIRALIGN_MAX_"


def limit(name: str) -> int:
    """The bound that holds now; raise `ConfigError` where its environment variable is no number."""
    told = os.environ.get(variable(name))
    if told is None:
        return LIMITS[name].default
    try:
        found = int(float(told))
    except (ValueError, OverflowError):
        found = 0
    if found < 1:
        raise ConfigError(f"{variable(name)}={told!r}: give a number of {LIMITS[name].unit}, 1 or more.")
    return found


def variable(name: str) -> str:
    """The environment variable of a bound."""
    return PREFIX + name.upper()


def check(name: str, amount: float, what: str, most: int | None = None) -> None:
    """Raise `DataError` where `what`, such as "the picture", takes more than the bound `name` allows, or `most`."""
    most = limit(name) if most is None else most
    if amount > most:
        unit = LIMITS[name].unit
        raise DataError(
            f"{what} is too large: {amount:,.0f} {unit}, and at most {most:,} are read. Make it smaller first, or set "
            f"{variable(name)} if it is meant."
        )


def read_bytes(path: str | os.PathLike[str], name: str = "file") -> bytes:
    """All bytes of a plain file no larger than the bound `name`; a pipe or device is refused, not waited for."""
    descriptor = open_plain(path)
    with os.fdopen(descriptor, "rb") as stream:
        check(name, os.fstat(descriptor).st_size, f"file {Path(path).name!r}")
        return stream.read()


def read_words(path: str | os.PathLike[str], name: str = "text", encoding: str = "utf-8") -> str:
    """The same as text."""
    return read_bytes(path, name).decode(encoding)


def open_plain(path: str | os.PathLike[str]) -> int:
    """A descriptor of a plain file; `OSError` where there is none, `DataError` for a pipe, device or folder."""
    if "\0" in os.fsdecode(path):
        raise DataError(f"{os.fsdecode(path)!r} is the name of no file: correct it.")
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise DataError(f"{str(path)!r} is no plain file: copy what it holds into one.")
    return descriptor


def parse_json(text: str | bytes, what: str = "JSON", name: str | None = "text", **options: Any) -> Any:
    """The value of a JSON text of bounded length and nesting; raise `ValueError` for a text that is none, and
    `DataError` for one beyond a bound. options: of `json.loads`."""
    if name is not None:
        check(name, len(text), what)
    try:
        value = json.loads(text, **options)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    opened = text.count(b"[") + text.count(b"{") if isinstance(text, bytes) else text.count("[") + text.count("{")
    if opened > limit("nesting"):
        check_nesting(value)
    return value


def check_nesting(value: Any) -> None:
    """Raise `ValueError` where plain values lie in each other deeper than the bound."""
    most, layer = limit("nesting"), [value]
    for _ in range(most):
        layer = [
            inner
            for one in layer
            if isinstance(one, (list, Mapping))
            for inner in (one.values() if isinstance(one, Mapping) else one)
            if isinstance(inner, (list, Mapping))
        ]
        if not layer:
            return
    raise ValueError(f"it is nested deeper than {most} levels ({variable('nesting')})")


def page() -> str:
    """The bounds as a table, for `SECURITY.md`."""
    rows = [f"| `{variable(n)}` | {b.default:,} | {b.unit} | {b.what} |" for n, b in LIMITS.items()]
    return "\n".join(["| variable | default | counts | of |", "|---|---|---|---|", *rows]) + "\n"
