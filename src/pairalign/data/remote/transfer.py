"""Bytes over an unreliable line: tried again from where it stopped, then one clear error.

Note:
    An attempt that brought something does not count against the next, so a line that breaks every minute still
    delivers; what cannot become right (a file that is not there, a refused credential) is not tried again. No error
    holds a credential, also not as its cause.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from pairalign.core.errors import DataError, PairalignError
from pairalign.core.limits import check
from pairalign.core.secrets import hide
from pairalign.data.remote import opening

T = TypeVar("T")

WAITS = (0.5, 1.0, 2.0, 4.0)  # seconds before each further attempt
_HOPELESS = (FileNotFoundError, PermissionError, IsADirectoryError, ImportError, ValueError, TypeError)
_NAMES = ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "OfflineModeIsEnabled")


def stream(address: str, size: int | None) -> Iterator[bytes]:
    """A file of `size` bytes, every byte once, over as many connections as it takes; None where nobody knows its size.

    Raise `DataError` that names the address, the attempts and the last reason.
    """
    done, attempts, cut = 0, 0, ""
    while True:
        try:
            for piece in opening.pieces(address, done, size or 0):
                done, attempts = done + len(piece), 0
                if size is not None and done > size:
                    raise DataError(f"{hide(address)!r} has more than the {size} bytes of its index: it was changed.")
                yield piece
            if size is None or done == size:
                return
            cut = f"it ended after {done} of {size} bytes"
            raise OSError(cut)
        except PairalignError:
            raise
        except Exception as error:
            if done == size:  # a server that promised more than there is ends with an error
                return
            attempts += 1
            _wait_or_give_up(address, error, attempts, cut)


def whole_size(address: str) -> int | None:
    """Bytes of a file, as its server says; None where only reading it will tell."""
    return again(address, lambda: opening.size_of(address))


def read_file(address: str) -> bytes:
    """A whole small file; `DataError` as `stream` has it, `FileNotFoundError` where there is none."""
    return again(address, lambda: _joined(address), missing=True)


def _joined(address: str) -> bytes:
    found, total = [], 0
    for piece in opening.whole(address):
        found.append(piece)
        total += len(piece)
        check("table", total, hide(address))
    return b"".join(found)


def again(address: str, work: Callable[[], T], *, missing: bool = False) -> T:
    """What `work` returns, tried again where it fails. missing: let `FileNotFoundError` through."""
    attempts = 0
    while True:
        try:
            return work()
        except PairalignError:
            raise
        except Exception as error:
            if missing and (isinstance(error, FileNotFoundError) or _status(error) == 404):
                raise FileNotFoundError(hide(address)) from None
            attempts += 1
            _wait_or_give_up(address, error, attempts)


def _wait_or_give_up(address: str, error: Exception, attempts: int, cut: str = "") -> None:
    if _hopeless(error):
        raise DataError(f"{hide(address)!r} cannot be read: {_reason(error)}.") from None
    if attempts > len(WAITS):
        fix = "it is cut: upload it again" if cut else "check the connection and the server, then run again"
        raise DataError(
            f"{hide(address)!r} could not be read in {attempts} attempts; the last: {cut or _reason(error)}: {fix}."
        ) from None
    time.sleep(WAITS[attempts - 1] * random.uniform(0.8, 1.2))


def _hopeless(error: Exception) -> bool:
    status = _status(error)
    if status is not None:
        return 400 <= status < 500 and status not in (408, 416, 425, 429)
    return isinstance(error, _HOPELESS) or type(error).__name__ in _NAMES


def _status(error: Exception) -> int | None:
    """The HTTP status behind an error, of aiohttp, gcsfs or huggingface_hub."""
    found = getattr(error, "status", None) or getattr(getattr(error, "response", None), "status_code", None)
    found = found or getattr(error, "code", None)
    return int(found) if isinstance(found, int) else None


def _reason(error: Exception) -> str:
    status = _status(error)
    if isinstance(error, FileNotFoundError) or status == 404:
        return "there is no such file"
    if isinstance(error, PermissionError) or status in (401, 403):
        told = "" if status is None else f" (HTTP {status})"
        return f"access is denied{told}: give credentials by the environment"
    if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
        return "no credentials were found: give them by the environment"
    if status is not None:
        return f"HTTP status {status}"
    text = hide(" ".join(str(error).split()))
    return f"{type(error).__name__}{': ' + text[:200] if text else ''}"
