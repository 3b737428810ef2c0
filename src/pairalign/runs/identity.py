"""What a run is: its configuration, and the hashes of what it was made from: shards, code, weights, plugins.

Note:
    Settings that do not change the result (`FREE`) are no part of it, so a run may move, be watched and be stopped
    otherwise than it was begun. A hash that cannot be had (None) is not compared; a thing that is gone differs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pairalign.core.errors import IdentityError, PairalignError

FREE = ("out", "cache", "score_cache", "plugins", "root", "trust_remote_code", "log")
FREE_DATA = ("root", "memory", "cache", "cache_gb")
FREE_TRAIN = ("accelerator", "devices", "nodes", "threads", "checkpoint_every", "keep_checkpoint", "memory", "workers")
# the same data may lie elsewhere, and so may a run that another starts from; hashes tell of them
PLACES = re.compile(r"(^|\.)(shards|images)(\.\d+(\.path)?)?$|^start\.run$")
GONE = "gone"


@dataclass(frozen=True)
class Identity:
    """config: all settings as plain values. made_from: SHA-256 by what a user calls it, as "shards of edge a~b"."""

    config: Mapping[str, Any]
    made_from: Mapping[str, str | None] = field(default_factory=dict)

    def differences(self, now: Identity) -> list[str]:
        """What this run was made with and `now` is otherwise, in words."""
        hashed = bool(self.made_from)
        found = [name for name in _differences(self.config, now.config) if not _free(name, hashed)]
        for name, was in self.made_from.items():
            found += _changed(name, was, now.made_from.get(name, was))
        return found

    def check(self, now: Identity, where: str | Path) -> None:
        """Raise `IdentityError` that says what differs."""
        found = self.differences(now)
        if found:
            raise IdentityError(_refusal(where, found))


def _changed(name: str, was: str | None, now: str | None) -> list[str]:
    if was is None or now is None or was == now:
        return []
    if now == GONE:
        hint = ": name none, and the copy that the run keeps is taken" if name.startswith("plugin ") else ""
        return [f"{name} (gone{hint})"]
    return [f"{name} (was {was[:8]}, now {now[:8]})"]


def hashes(parts: Iterable[tuple[str, Callable[[], str | None]]]) -> dict[str, str | None]:
    """Every part's hash by its name, `GONE` where it is not there to be hashed."""
    found: dict[str, str | None] = {}
    for name, part in parts:
        try:
            found[name] = part()
        except (PairalignError, OSError):
            found[name] = GONE
    return found


def check_same(found: Mapping[str, Any], now: Mapping[str, Any], where: Path) -> None:
    """Raise `IdentityError` naming the settings that differ, except those that do not change the result."""
    different = differing_settings(found, now)
    if different:
        raise IdentityError(_refusal(where, different))


def _refusal(where: str | Path, different: list[str]) -> str:
    shown = ", ".join(different[:5]) + (f" and {len(different) - 5} more" if len(different) > 5 else "")
    return (
        f"{str(where)!r} belongs to another run, which differs in {shown}: choose another `out`, or pass --fresh to "
        "set it aside and start over."
    )


def differing_settings(a: Any, b: Any) -> list[str]:
    """Dotted names of the settings that differ and change the result."""
    return [name for name in _differences(a, b) if not _free(name)]


def missing(whole: Any, found: Any, name: str = "") -> Iterable[str]:
    """Dotted names of what is in one nested structure and not in another; values aside."""
    if isinstance(whole, Mapping) and isinstance(found, Mapping):
        for key, value in whole.items():
            inner = f"{name}.{key}".lstrip(".")
            yield from missing(value, found[key], inner) if key in found else [inner]
    elif isinstance(whole, list) and not (isinstance(found, list) and len(found) >= len(whole)):
        yield name
    elif isinstance(whole, list):
        for number, value in enumerate(whole):
            yield from missing(value, found[number], f"{name}.{number}")


def _free(name: str, hashed: bool = True) -> bool:
    """hashed: hashes tell of the data, so that it may lie anywhere."""
    if hashed and PLACES.search(name):
        return True
    first, _, rest = name.partition(".")
    free = {"data": FREE_DATA, "train": FREE_TRAIN}.get(first, ())
    return first in FREE or rest.partition(".")[0] in free


def _differences(a: Any, b: Any, name: str = "") -> Iterable[str]:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in sorted(set(a) | set(b)):
            yield from _differences(a.get(key), b.get(key), f"{name}.{key}".lstrip("."))
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for number, (one, other) in enumerate(zip(a, b, strict=True)):
            yield from _differences(one, other, f"{name}.{number}")
    elif a != b:
        yield name
