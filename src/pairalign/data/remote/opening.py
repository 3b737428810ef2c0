"""Addresses opened through fsspec, and commands through webdataset: the bytes of a file from an offset on, its size,
the names of a folder, writing and removing. One attempt each; who tries again is `transfer`.

Note:
    The libraries behind fsspec try again on their own, up to 25 times in all; here they do not, so that the attempts
    that an error names are those that were made. Their settings come from the environment, as fsspec reads them
    (`FSSPEC_S3='{"anon": true}'`), and from the clouds' own variables and files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from pairalign.core.errors import DataError

PIECE = 16 * 2**20  # bytes of one request
STALL = 60.0  # seconds without a byte after which a connection is given up
_VARIABLES = ("AWS_", "GOOGLE_", "HF_", "NETRC", "HOME", "HTTP", "http")
_MADE: dict[tuple[int, str, tuple[tuple[str, str], ...]], Any] = {}
_PACKAGES = {
    "s3": ("s3fs", "s3"),
    "gs": ("gcsfs", "gcs"),
    "gcs": ("gcsfs", "gcs"),
    "http": ("aiohttp", "http"),
    "https": ("aiohttp", "http"),
    "hf": ("huggingface_hub", "hf"),
}


def pieces(address: str, offset: int, size: int) -> Iterator[bytes]:
    """The bytes of a file of `size` bytes from `offset` on; fewer or more where it has fewer or more."""
    scheme = address.partition(":")[0]
    if scheme == "pipe":
        return _after(_of_command(address), offset)
    if scheme in ("http", "https"):
        return _of_http(address, offset)
    return _of_ranges(address, offset, size)


def whole(address: str) -> Iterator[bytes]:
    """The bytes of a file whose size is not known."""
    scheme = address.partition(":")[0]
    return pieces(address, 0, 0 if scheme in ("pipe", "http", "https") else size_of(address) or 0)


def size_of(address: str) -> int | None:
    """Bytes of a file, as its server says; None where it does not."""
    if address.startswith("pipe:"):
        return None
    size = filesystem(address).info(address)["size"]
    return None if size is None else int(size)


def listing(address: str) -> list[str]:
    """Names of the files below a folder, relative to it."""
    found = filesystem(address)
    home = found._strip_protocol(address).rstrip("/") + "/"
    return sorted(str(path).removeprefix(home) for path in found.find(address))


def filesystem(address: str) -> Any:
    """The fsspec file system of an address; raise `DataError` where its package is missing."""
    import fsspec

    scheme = address.partition(":")[0]
    told = tuple(sorted(entry for entry in os.environ.items() if entry[0].startswith(_VARIABLES)))
    key = (os.getpid(), scheme, told)  # one that was made before a credential was given does not know it
    if key in _MADE:
        return _MADE[key]
    for old in [made for made in _MADE if made[:2] == key[:2]]:  # of credentials that were renewed, with its session
        _MADE.pop(old, None)
    try:
        found = _MADE[key] = fsspec.filesystem(scheme, skip_instance_cache=True, **_options(scheme))
    except ImportError:
        package, extra = _PACKAGES[scheme]
        raise DataError(f"{scheme}:// needs {package}: pip install 'pairalign[{extra}]'.") from None
    found.retries = 1
    return found


def _options(scheme: str) -> dict[str, Any]:
    """What the environment does not say: no hidden attempts, no listing that is out of date."""
    from fsspec.config import conf

    if scheme in ("http", "https"):
        told = conf.get(scheme, {}).get("client_kwargs", {})
        return {"client_kwargs": {"trust_env": True, **told}}  # ~/.netrc and proxies
    options: dict[str, Any] = {"use_listings_cache": False}
    if scheme == "s3":
        told = conf.get("s3", {}).get("config_kwargs", {})
        timeouts = {"connect_timeout": STALL / 2, "read_timeout": STALL}
        options["config_kwargs"] = {"retries": {"max_attempts": 0}, **timeouts, **told}
    return options


def _of_ranges(address: str, offset: int, size: int) -> Iterator[bytes]:
    found = filesystem(address)
    while offset < size:
        asked = min(PIECE, size - offset)
        piece = found.cat_file(address, start=offset, end=offset + asked)
        offset += len(piece)
        yield piece
        if len(piece) < asked:
            return


def _of_http(address: str, offset: int) -> Iterator[bytes]:
    from aiohttp import ClientTimeout

    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
    timeout = ClientTimeout(total=None, sock_connect=STALL / 2, sock_read=STALL)
    with filesystem(address).open(address, block_size=0, size=1, headers=headers, timeout=timeout) as stream:
        read = iter(lambda: stream.read(2**20), b"")
        start = str(stream.r.headers.get("Content-Range", ""))
        yield from read if start.startswith(f"bytes {offset}-") else _after(read, offset)


def _of_command(address: str) -> Iterator[bytes]:
    from webdataset.gopen import gopen_pipe

    if os.name == "nt":
        raise DataError("pipe: needs a POSIX shell, which Windows lacks: give the address itself.")
    stream = gopen_pipe(address)
    try:
        yield from iter(lambda: stream.stream.read(2**20), b"")
        status = stream.proc.wait()
        if status:
            raise OSError(f"the command ended with status {status}")
    finally:
        stream.stream.close()
        stream.proc.wait()


def _after(read: Iterator[bytes], offset: int) -> Iterator[bytes]:
    """What is left of a stream behind its first `offset` bytes, of which a server that knows no ranges sends all."""
    for piece in read:
        if len(piece) > offset:
            yield piece[offset:]
        offset = max(0, offset - len(piece))
