"""The index of an address, kept for a while, and its shards as open files.

Note:
    Every pass over the data asks for the index, and so does every check; one that was fetched is believed for a minute
    by the process that did.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from pairalign.core.errors import DataError
from pairalign.core.secrets import hide
from pairalign.data.place import Remote
from pairalign.data.remote.transfer import read_file

T = TypeVar("T")

BELIEVED = 60.0  # seconds
_INDEXES: dict[str, tuple[float, Any]] = {}


def fetch_index(place: Remote, read: Callable[[bytes], T]) -> T:
    """The index of an address, with `read` made from its bytes."""
    known = _INDEXES.get(place.url)
    if known is not None and time.monotonic() - known[0] < BELIEVED:
        found: T = known[1]
        return found
    address = place.file("index.json")
    try:
        index = read(read_file(address))
    except DataError as error:
        if place.scheme != "pipe":
            raise
        raise DataError(
            f"{str(place)!r} gave no index: the command is also run with index.json in the place of {place.names[0]} "
            f"({error})"
        ) from None
    except FileNotFoundError:
        raise DataError(
            f"{str(place)!r} has no {hide(address)!r}: packing never finished, the address is wrong, or another tool "
            f"wrote the shards (`pairalign data index {place}`)."
        ) from None
    now = time.monotonic()
    for url in [url for url, (then, _) in list(_INDEXES.items()) if now - then >= BELIEVED]:
        _INDEXES.pop(url, None)  # an address that is signed anew every hour is another one each time
    _INDEXES[place.url] = (now, index)
    return index


def forget_index(place: Remote) -> None:
    """Fetch the index of an address anew the next time."""
    _INDEXES.pop(place.url, None)
