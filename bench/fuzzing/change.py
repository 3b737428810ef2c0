"""Random changes of good files: of bytes anywhere, and of what stands in a format, with its sums and lengths mended.

Note:
    Most changes of bytes in a format with checksums are refused at the sum and test nothing behind it; so a format's
    own change mends the sums, and leaves them as they are often enough to test them too.
"""

from __future__ import annotations

import copy
import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

Change = Callable[[bytes, random.Random, Sequence[bytes]], bytes]

WORDS = (
    *(b"", b"0", b"-1", b"3", b"1e999", b"NaN", b"null", b"true", b"[]", b"{}", b'"', b"'", b",", b";", b"\t", b"\n"),
    *(b"\r\n", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\\ud800", b"../", b"/", b"*", b"&a", b"!!python/name:os.x"),
    *(b"999999999999999999999", b"9" * 400, b"9" * 5000, b"[" * 400, b"[" * 60_000, b'{"":' * 30_000),
    *(b"a.png", b"a.npy", b"touch", b"{x}", b":", b"- ", b"#", b"!!timestamp x", b"!!int x", b"? ", b"<<: 1", b"%"),
)
NUMBERS = (b"\x00" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\x00\x00\x00", b"\x00\x00\x00\x80")
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 10**6, 10**12, 2**63, 10**30, 1.5, float("nan"), float("inf")),
    *("", "x", "a/b", "../x", "/x", "\x00", "\ud800", "0", ".touch", "__class__", "é" * 50, "x" * 300, "{", "%s", "*"),
    *([], [1], [None], ["a"], [[1]], [{}], {}, {"x": 1}, {"": 1}, {"a": {"b": []}}, "train", "float32", "int4", "u1"),
)


def bytes_changed(data: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    """The file with one to six random changes."""
    value = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 3, 6))):
        at, kind = draw.randrange(len(value) + 1), draw.randrange(8)
        end = min(len(value), at + draw.choice((1, 2, 4, 16, 200)))
        if kind == 0 and value:
            value[min(at, len(value) - 1)] ^= 1 << draw.randrange(8)
        elif kind == 1:
            value[at:end] = draw.randbytes(end - at)
        elif kind == 2:
            del value[at:end]
        elif kind == 3:
            value[at:at] = value[at:end]
        elif kind == 4:
            value[at:end] = draw.choice(WORDS)
        elif kind == 5:
            value[at:at] = draw.choice(WORDS)
        elif kind == 6:
            value[at : at + 4] = draw.choice(NUMBERS)
        else:
            value = value[:at] if draw.random() < 0.5 else value[:at] + bytearray(draw.choice(others))[at:]
    return bytes(value)


def nodes_changed(tree: Any, draw: random.Random) -> Any:
    """A copy of plain values with one to three entries replaced by odd ones, renamed, added or left out."""
    tree = copy.deepcopy(tree)
    for _ in range(draw.choice((1, 1, 2, 3))):
        path = draw.choice(list(_paths(tree)))
        if not path:
            return draw.choice(ODD) if draw.random() < 0.1 else tree
        node = tree
        for step in path[:-1]:
            node = node[step]
        last, kind = path[-1], draw.random()
        if kind < 0.15:
            del node[last]
        elif kind < 0.3 and isinstance(node, dict):
            node[draw.choice(("zzz", "", "a.b", "a/b", ".touch", "__class__", "\ud800"))] = node.pop(last)
        elif kind < 0.35 and isinstance(node, dict):
            node[str(draw.choice(ODD))] = copy.deepcopy(draw.choice(ODD))
        elif kind < 0.4 and isinstance(node, list):
            node.append(copy.deepcopy(draw.choice(ODD)))
        else:
            node[last] = copy.deepcopy(draw.choice(ODD))
    return tree


def _paths(tree: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    inside = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for step, value in inside:
        yield from _paths(value, (*at, step))


def json_changed(data: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    """JSON with other values in it, or other bytes."""
    if draw.random() < 0.3:
        return bytes_changed(data, draw, others)
    return json.dumps(nodes_changed(json.loads(data), draw)).encode()


def lines_changed(data: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    """The same of one line of JSON lines."""
    lines = data.splitlines()
    if draw.random() < 0.3 or not lines:
        return bytes_changed(data, draw, others)
    at = draw.randrange(len(lines))
    lines[at] = json_changed(lines[at], draw, others)
    return b"\n".join(lines)


def yaml_changed(data: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    """YAML with other values in it, or other bytes."""
    import yaml

    if draw.random() < 0.4:
        return bytes_changed(data, draw, others)
    found = nodes_changed(yaml.safe_load(data), draw)
    return yaml.safe_dump(found, sort_keys=False, allow_unicode=True).encode("utf-8", "surrogatepass")


def tar_changed(data: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    """A tar, its headers' checksums mended half of the time."""
    value = bytearray(bytes_changed(data, draw, others))
    for at in range(0, len(value) - 511, 512) if draw.random() < 0.6 else ():
        if value[at + 257 : at + 262] == b"ustar":
            value[at + 148 : at + 156] = b" " * 8
            value[at + 148 : at + 156] = b"%06o\0 " % sum(value[at : at + 512])
    return bytes(value)


def safetensors_changed(data: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    """Tensors, with other values in their header and its length mended most of the time."""
    if draw.random() < 0.4:
        return bytes_changed(data, draw, others)
    size = int.from_bytes(data[:8], "little")
    told = nodes_changed(_opened(json.loads(data[8 : 8 + size])), draw)
    if isinstance(told, dict) and isinstance(told.get("__metadata__"), dict):
        about = told["__metadata__"].items()
        told["__metadata__"] = {name: v if isinstance(v, str) else json.dumps(v) for name, v in about}
    head = json.dumps(told).encode()
    head += b" " * (-len(head) % 8)
    return len(head).to_bytes(8, "little") + head + data[8 + size :]


def _opened(told: dict[str, Any]) -> dict[str, Any]:
    """The header with the JSON inside its metadata as values, so that these are changed too."""
    found = dict(told)
    for name, text in told.get("__metadata__", {}).items():
        if text[:1] in "{[":
            found["__metadata__"] = {**found["__metadata__"], name: json.loads(text)}
    return found


def zip_changed(data: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    """An archive of which one member is changed and its sum mended, or other bytes."""
    if draw.random() < 0.5:
        return bytes_changed(data, draw, others)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = draw.choice(list(members))
    members[name] = bytes_changed(members[name], draw, list(members.values()))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, member in members.items():
            archive.writestr(draw.choice((name, name, name, name, name, "../x.npy", "x", "a")), member)
    return stream.getvalue()


def picture_changed(data: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    """A picture; of a PNG the sums of its chunks are mended half of the time."""
    value = bytearray(bytes_changed(data, draw, others))
    if value[:8] != b"\x89PNG\r\n\x1a\n" or draw.random() < 0.5:
        return bytes(value)
    at = 8
    while at + 12 <= len(value):
        size = int.from_bytes(value[at : at + 4], "big")
        if at + 12 + size > len(value):
            break
        value[at + 8 + size : at + 12 + size] = struct.pack(">I", zlib.crc32(value[at + 4 : at + 8 + size]))
        at += 12 + size
    return bytes(value)
