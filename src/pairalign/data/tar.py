"""Tar shards, written so that the same samples give the same bytes, and scanned without unpacking anything.

One sample is a run of members `<key>.<field>.<ext>`, as WebDataset wants it; a dot, slash or other odd
character of a key is percent-encoded, because WebDataset ends the key at the first dot.

Note:
    The scan trusts nothing. A name that leaves the folder, a link, a device, a bad checksum or a cut file is an error
    that names the shard.
"""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Iterable
from pathlib import Path
from sys import intern
from typing import BinaryIO, NamedTuple
from urllib.parse import quote, unquote

import numpy as np

from pairalign.core.errors import DataError
from pairalign.core.limits import check, limit, open_plain

BLOCK = 512
_BLANK = tarfile.TarInfo("").tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")
_MODE_AND_OWNER, _TIME, _REST = _BLANK[100:124], _BLANK[136:148], _BLANK[156:]
_REST_SUM = sum(_REST) + 8 * ord(" ")  # the checksum counts itself as eight spaces
_MOST = 8**11 - 1
SHARD = re.compile(r"[\w.-]+-\d{6,}\.tar")
_SUMMED = 4096  # headers that are kept until their checksums are compared together
_HEADER = 1 << 20  # bytes that the standard library may ask for at once: long names and notes, never a member's data


class Entry(NamedTuple):
    """One sample of a shard: its key, and (offset, size) by stored field `<modality>[.<part>].<ext>`."""

    key: str
    fields: dict[str, tuple[int, int]]


def encode_key(key: str) -> str:
    """A key as it stands in a member name: no dot, no slash, ASCII."""
    return quote(key, safe="").replace(".", "%2E").replace("~", "%7E")


def write_sample(stream: BinaryIO, key: str, fields: Iterable[tuple[str, bytes]]) -> None:
    """Append one sample, or nothing of it if its key is too long. Times, owners and modes are fixed, so that equal
    input gives equal bytes.
    """
    stem, blocks = encode_key(key), []
    for field, data in fields:
        name = f"{stem}.{field}"
        if len(name) > 100:
            raise DataError(f"key {key!r} is too long for a tar member ({len(name)} of 100 bytes): shorten it.")
        blocks += [_header(name, len(data)), data, b"\0" * (-len(data) % BLOCK)]
    stream.writelines(blocks)


def _header(name: str, size: int) -> bytes:
    """A ustar header as the standard library writes it, from one that it wrote."""
    if size > _MOST:
        raise DataError(f"tar member {name!r} of {size} bytes is larger than a tar can say: make the sample smaller.")
    start, rest = name.encode("ascii").ljust(100, b"\0") + _MODE_AND_OWNER, b"%011o\0" % size + _TIME
    total = sum(start) + sum(rest) + _REST_SUM
    return b"%b%b%06o\0 %b" % (start, rest, total, _REST)


def write_end(stream: BinaryIO) -> None:
    """Close a tar: two empty blocks."""
    stream.write(b"\0" * (2 * BLOCK))


def scan(descriptor: int, name: str) -> list[Entry]:
    """Every sample of an open shard, in order; `name` is for errors. Raise `DataError` for damage."""
    size, most = os.fstat(descriptor).st_size, limit("members")
    entries: list[Entry] = []
    headers: list[bytes] = []
    offset = count = 0
    while (header := os.pread(descriptor, BLOCK, offset))[:1] != b"\0":  # an empty block ends a tar
        if len(header) < BLOCK:
            raise DataError(f"shard {name} is truncated{_after(entries)}: copy or pack it again.")
        if header[156] not in b"0\0" or header[345]:  # no plain file, or a long name
            return _scan_slowly(descriptor, name)
        headers.append(header)
        offset, count = offset + BLOCK, count + 1
        if count > most:
            check("members", count, f"shard {name}")
        if len(headers) == _SUMMED:
            _check_sums(headers, name)
            headers.clear()
        try:
            length = _octal(header[124:136])
            if length is None:
                raise ValueError("a member's size is no number")
            _add(entries, header[:100].rstrip(b"\0").decode(), offset, length, name)
        except ValueError as error:
            raise DataError(f"shard {name} is damaged{_after(entries)} ({error}): copy or pack it again.") from error
        offset += length + -length % BLOCK
        if offset > size:
            inside = f" inside sample {entries[-1].key!r}" if entries else ""
            raise DataError(f"shard {name} is truncated{inside}: copy or pack it again.")
    _check_sums(headers, name)
    return entries


def _check_sums(headers: list[bytes], name: str) -> None:
    """Compare the checksum of these headers, all at once; the eight bytes that hold it count as spaces."""
    table = np.frombuffer(b"".join(headers), np.uint8).reshape(-1, BLOCK)
    sums = table.sum(1, dtype=np.int64) - table[:, 148:156].sum(1, dtype=np.int64) + 8 * ord(" ")
    for header, computed in zip(headers, sums.tolist(), strict=True):
        if _octal(header[148:156]) != computed:
            member = header[:100].rstrip(b"\0").decode(errors="replace")
            raise DataError(f"shard {name} is damaged at member {member!r}: copy or pack it again.")


def _octal(field: bytes) -> int | None:
    """The number in a header's field; `None` where it is none (`int` would take signs and underscores)."""
    digits = field.strip(b"\0 ") or b"0"
    return None if digits.strip(b"01234567") else int(digits, 8)


def _scan_slowly(descriptor: int, name: str) -> list[Entry]:
    """The same for tars by other writers, with long names and folders, through the standard library."""
    entries: list[Entry] = []
    size = os.fstat(descriptor).st_size
    try:
        with _Headers(descriptor) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            for count, info in enumerate(tar, 1):
                check("members", count, f"shard {name}")
                tar.members.clear()  # type: ignore[attr-defined]  # which it would keep, a kilobyte each
                if info.isdir():
                    continue
                if not info.isreg() or info.issparse():
                    raise DataError(
                        f"shard {name}: member {info.name!r} is a link or device, or has holes, which no shard may "
                        "hold: pack the data again from a source that you trust."
                    )
                if info.size < 0 or info.offset_data + info.size > size:
                    raise DataError(f"shard {name} is truncated{_after(entries)}: copy or pack it again.")
                info.name.encode()  # raises where it is no UTF-8, as above
                _add(entries, info.name, info.offset_data, info.size, name)
    except (tarfile.TarError, OSError, ValueError, IndexError, OverflowError) as error:
        raise DataError(f"shard {name} is damaged ({error}){_after(entries)}: copy or pack it again.") from error
    return entries


class _Headers(io.RawIOBase):
    """A shard as `tarfile` may read it: its headers, never as much as a member of gigabytes that calls itself one."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor, self.place = descriptor, 0

    def tell(self) -> int:
        """Where the next byte is read."""
        return self.place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go there."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self.place, os.SEEK_END: os.fstat(self.descriptor).st_size}[whence]
        self.place = start + offset
        return self.place

    def read(self, size: int = -1) -> bytes:
        """The next bytes; `tarfile.TarError` where a header is longer than any is."""
        if not 0 <= size <= _HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        data = os.pread(self.descriptor, size, self.place)
        self.place += len(data)
        return data


def _add(entries: list[Entry], member: str, offset: int, length: int, name: str) -> None:
    folder = ""
    if "/" in member or "\\" in member:
        folder, member = _checked_folder(member, name)
    stem, dot, field = member.partition(".")
    if not dot or not stem:
        return  # no part of a sample, as WebDataset has it
    key = unquote(f"{folder}{stem}")
    if not entries or entries[-1].key != key:
        entries.append(Entry(key, {}))
    if field in entries[-1].fields:
        raise DataError(f"shard {name}: sample {key!r} holds {field!r} twice: pack it again.")
    entries[-1].fields[intern(field)] = (offset, length)


def _checked_folder(member: str, name: str) -> tuple[str, str]:
    """Folder with its slash, and base name; raise `DataError` for a name that leaves the folder."""
    folder, slash, base = member.removeprefix("./").rpartition("/")
    if member.startswith("/") or ".." in member.split("/") or "\\" in member:
        raise DataError(
            f"shard {name}: member {member!r} has an unsafe name: pack the data again from a source that you trust."
        )
    return folder + slash, base


def _after(entries: list[Entry]) -> str:
    return f", after sample {entries[-1].key!r}" if entries else ", before its first sample"


def is_packed(path: Path) -> bool:
    """Whether a file is a shard that `pack_pairs` wrote, by its name and its first header, and no link to one."""
    if not SHARD.fullmatch(path.name) or path.is_symlink():
        return False
    try:
        with os.fdopen(open_plain(path), "rb") as stream:
            header = stream.read(BLOCK)
    except (OSError, DataError):
        return False
    own = header[100:124] == _MODE_AND_OWNER and header[136:148] == _TIME
    return own and header[:100].rstrip(b"\0").endswith(b".meta.json")


def open_shard(path: Path) -> int:
    """Open a shard for reading and tell the kernel to read ahead; raise `DataError` if it is missing."""
    try:
        descriptor = open_plain(path)
    except OSError as error:
        raise DataError(f"shard {path.name} cannot be opened ({error.strerror}): copy or pack it again.") from error
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
    return descriptor
