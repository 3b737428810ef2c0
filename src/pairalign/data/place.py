"""Where shards are: a local folder, or an address.

    place = find_place(edge.shards, config.data.root)  # a `Path`, or a `Remote` for anything that is no plain folder
    index = load_index(place)
    samples = read_samples(place, "train", ["image", "touch"])

A user may write `folder`, `s3://bucket/folder`, `gs://…`, `https://…`, `hf://datasets/…`, the shards themselves with
braces (`s3://bucket/folder/train-{000000..000099}.tar`, `folder/train-{0..9}.tar`), or a command for each shard
(`pipe:curl -s https://host/train-{0..9}.tar`).

Note:
    A `Path` cannot hold an address, so whoever gets a place as text asks `find_place` and never calls `Path` on it;
    both kinds have `name`, `resolve()`, `str()`, equality and a hash. `str()` of an address hides its credentials: it
    is for people, and does not open anything.
"""

from __future__ import annotations

import math
import posixpath
import re
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

from pairalign.core.errors import DataError
from pairalign.core.names import names_files
from pairalign.core.secrets import HIDDEN, hide

SCHEMES = ("s3", "gs", "gcs", "https", "http", "hf")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_LOST_SLASH = re.compile(rf"({'|'.join(SCHEMES)}|file):/(?!/)")
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)")
_MOST = 1_000_000  # shards that braces may name


@dataclass(frozen=True, repr=False)
class Remote:
    """Shards at an address, or named one by one. url: as it was given, with its credentials; never print it.

    base: what the names of shards are relative to. names: the shards that were named, none for all of an index.
    """

    url: str

    def __str__(self) -> str:
        return hide(self.url)

    def __repr__(self) -> str:
        return f"Remote({hide(self.url)!r})"

    def resolve(self) -> Remote:
        """Itself, as an address has no shorter form; what `Path.resolve` is to a folder."""
        return self

    @property
    def scheme(self) -> str:
        """ "s3", "https", "pipe" and so on; "" for shards that are named in a local folder."""
        found = _SCHEME.match(self.url)
        return "pipe" if self.url.startswith("pipe:") else found.group(1).lower() if found else ""

    @property
    def name(self) -> str:
        """A short name that can be part of a file's: that of the folder, of a command that of its first shard."""
        if self.scheme == "pipe":
            last = self.names[0].removesuffix(".tar")
        else:
            last = Path(self.base).absolute().name if not self.scheme else self.base.rpartition("/")[2]
        return re.sub(r"[^\w.-]+", "_", last) or "shards"

    @property
    def base(self) -> str:
        """The folder, without credentials in a query; of a command nothing."""
        return self._parts[0]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the shards, relative to `base`, as far as they were given."""
        return self._parts[1]

    @cached_property
    def commands(self) -> tuple[str, ...]:
        """The command of each shard in `names`."""
        return tuple(_expanded(self.url.removeprefix("pipe:").strip())) if self.scheme == "pipe" else ()

    def file(self, name: str) -> str:
        """The address of a file, with its credentials; of a `pipe:` the command that the user gave for it."""
        if self.scheme == "pipe":
            return "pipe:" + self._command(name)
        if self.scheme in ("http", "https"):
            return f"{self.base}/{quote(name)}{self.query}"
        return f"{self.base}/{name}"

    def _command(self, name: str) -> str:
        if name in self.names:
            return self.commands[self.names.index(name)]
        first, shard = self.commands[0], self.names[0]  # the file of that name beside the first shard
        return name.join(first.rsplit(shard, 1))

    @property
    def query(self) -> str:
        """What follows the path of a web address, with its question mark."""
        return "".join(self.url.partition("?")[1:]) if self.scheme in ("http", "https") else ""

    @cached_property
    def _parts(self) -> tuple[str, tuple[str, ...]]:
        if self.scheme == "pipe":
            return "", tuple(_shard_of(command) for command in self.commands)
        address = self.url.removesuffix(self.query) if self.query else self.url
        if not _is_list(address):
            return address.rstrip("/"), ()
        start = re.search(r"[{]|$", address)
        assert start is not None
        base = address[: address.rfind("/", 0, start.start()) + 1]
        return base.rstrip("/") or ("/" if base else "."), tuple(n.removeprefix(base) for n in _expanded(address))


ShardPlace = Path | Remote


def find_place(shards: str | Path | Remote, root: str | Path | Remote = "") -> ShardPlace:
    """The place that a user wrote as `shards`, relative to `root` unless it is an address or absolute.

    Raise `DataError` for an address of a kind that is not read, and for one whose credentials were left out.
    """
    if isinstance(shards, Remote):
        return shards
    text = _LOST_SLASH.sub(r"\1://", str(shards), count=1) if _LOST_SLASH.match(str(shards)) else str(shards)
    if not names_files(text):
        raise DataError(f"{reprlib.repr(hide(text))} is the name of no folder: correct it.")
    if HIDDEN in text:
        raise DataError(
            f"{hide(text)!r} was written down without its credentials: give the address again as it was "
            "(`data.root=…`, or in the config), or better keep them in the environment."
        )
    if text.startswith("file://"):
        text = text.removeprefix("file://")
    if text.startswith("pipe:"):
        return _checked(Remote(text))
    scheme = _SCHEME.match(text)
    if scheme is not None:
        if scheme.group(1).lower() not in SCHEMES:
            known = ", ".join(f"{name}://" for name in SCHEMES)
            raise DataError(f"{hide(text)!r}: shards are read from folders, {known} and pipe:, and no {scheme[0]}.")
        return _checked(Remote(text))
    base = root if isinstance(root, Remote) else find_place(root) if str(root) not in ("", ".") else Path(str(root))
    if isinstance(base, Remote):
        return _checked(Remote(_below(base, text)))
    path = base / text
    return _checked(Remote(str(path))) if _is_list(str(path)) and not path.is_dir() else path


def is_remote(place: str | Path | Remote) -> bool:
    """Whether a place is an address, or shards that are named one by one, and no plain local folder."""
    return isinstance(find_place(place), Remote)


def _below(root: Remote, shards: str) -> str:
    if root.names:
        raise DataError(f"root {str(root)!r} names shards: give the folder that they are in.")
    joined = posixpath.normpath(shards)
    return root.base if joined == "." else f"{root.base}/{joined}{root.query}"


def _is_list(address: str) -> bool:
    return address.endswith(".tar")


def _checked(remote: Remote) -> Remote:
    """The same, once its braces and names have been read."""
    names: Sequence[str] = remote.names
    if len(set(names)) < len(names):
        raise DataError(f"{str(remote)!r} names a shard twice: write each once.")
    if remote.scheme != "pipe" and "{" in remote.base:
        raise DataError(f"{str(remote)!r}: braces name shards: let it end with `.tar`, as in `train-{{000..099}}.tar`.")
    return remote


def _expanded(text: str) -> list[str]:
    """What braces stand for, as webdataset has them."""
    from braceexpand import UnbalancedBracesError, braceexpand  # type: ignore[attr-defined]

    spans = [abs(int(b) - int(a)) + 1 for a, b in _RANGE.findall(text)]
    if math.prod(spans) > _MOST or text.count("{") > 16:
        raise DataError(f"{hide(text)!r} names more than {_MOST:,} shards: check its braces.")
    try:
        return list(braceexpand(text))
    except UnbalancedBracesError:
        raise DataError(f"{hide(text)!r}: its braces are not closed.") from None


def _shard_of(command: str) -> str:
    """The name of the shard that a command of the user's writes out: its last word that ends with `.tar`."""
    found = re.findall(r"([^\s/'\"=]+\.tar)(?=[\s'\"?&]|$)", command)
    if not found:
        shown = hide("pipe:" + command)
        raise DataError(f"{shown!r}: no word of the command ends with `.tar`: name the shard that it writes out.")
    return found[-1]
