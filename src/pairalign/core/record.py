"""A JSON record that may be anybody's, checked against the type that its reader expects, before anything is done by it.

    told = read_record(folder / "cache.json", CacheRecord)

Note:
    A type says what is in a record and nothing of what it means, so a reader still compares names, places and shapes;
    keys that a dataclass does not know are left out, because a later version may have written them, unless it is
    `Closed`.
"""

from __future__ import annotations

import json
import os
import re
import reprlib
from functools import cache
from typing import Any, ClassVar, TypeVar, cast

from pairalign.core.errors import DataError
from pairalign.core.limits import parse_json, read_bytes

T = TypeVar("T")
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")


class Closed:
    """Base of dataclasses whose records may have no other keys."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}


def read_record(path: str | os.PathLike[str], kind: type[T], limit: str = "table") -> T:
    """The record in a JSON file; raise `OSError` where it cannot be read, `ValueError`, in one line, for any other
    content. limit: bound of its bytes, see `limits`."""
    try:
        return parse_record(read_bytes(path, limit), kind, limit)
    except DataError as error:
        raise ValueError(str(error)) from error


def parse_record(text: str | bytes, kind: type[T], limit: str = "text") -> T:
    """The same of a text, such as one in the metadata of safetensors."""
    try:
        value = parse_json(text, "the record", limit)
    except DataError as error:
        raise ValueError(str(error)) from error
    if _HALF.search(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")):
        json.dumps(value, ensure_ascii=False).encode()  # raises for half a character, which nobody can write or print
    return as_record(value, kind)


def as_record(value: Any, kind: type[T]) -> T:
    """Plain values as `kind`, a dataclass, TypedDict or `dict[str, int]`; raise `ValueError` that names the first entry
    which is of another type."""
    from pydantic import ValidationError

    try:  # from JSON, where a list may stand for a tuple though "3" is no number
        return cast(T, _adapter(cast(Any, kind)).validate_json(json.dumps(value), strict=True))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where, told = ".".join(map(str, first["loc"])) or "it", first["msg"].removeprefix("Input ")
        raise ValueError(
            f"{where[:200]} is {reprlib.repr(first['input'])}, which {told[:1].lower()}{told[1:]}"
        ) from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


@cache
def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
