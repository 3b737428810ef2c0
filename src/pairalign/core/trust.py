"""What this user named on this machine: plugin files by their bytes, modules and places of shards by their names.

A run folder keeps the plugins that it was trained with, and an index may say that its shards lie elsewhere. Both may
come from a stranger, and neither may make code run or open a place that nobody here has named. So what a user names is
remembered, as a hash a line, and what a file names is taken only if it is among them.

Note:
    What is remembered lies in `PAIRALIGN_TRUST`, else `~/.local/state/pairalign/trusted`; where that cannot be written
    nothing is remembered, and what a file names has to be named again.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

VARIABLE = "PAIRALIGN_TRUST"


def trust_file() -> Path:
    """Where it is remembered."""
    told = os.environ.get(VARIABLE)
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(told) if told else Path(home) / "pairalign" / "trusted"


def trust(kind: str, name: str) -> None:
    """Remember what the user named: a `kind`, such as "plugin", and its hash or name."""
    if is_trusted(kind, name):
        return
    path = trust_file()
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as file:  # one write: lines of two processes do not mix
            file.write(_line(kind, name))


def is_trusted(kind: str, name: str) -> bool:
    """Whether the user has named it on this machine."""
    try:
        return _line(kind, name) in trust_file().read_bytes().splitlines(keepends=True)
    except OSError:
        return False


def _line(kind: str, name: str) -> bytes:
    return hashlib.sha256(f"{kind} {name}".encode(errors="surrogateescape")).hexdigest().encode() + b"\n"
