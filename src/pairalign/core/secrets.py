"""Credentials in addresses: what is printed, logged or written down of an address has `***` in their place.

Note:
    Of a query every value is hidden, because a server may call its token anything, and of a command everything behind
    the program's name; a configuration that was written down so cannot be run before they are given again. Environment
    variables and the clouds' own files are never written down, and are the better place for them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"
_USER = re.compile(r"(?<=://)[^/?#\s'\"@]*(?:@[^/?#\s'\"@]*)*@")
_QUERY = re.compile(r"(://[^\s'\"?]*\?)([^\s'\"]+)")
_SECRET = re.compile(r"TOKEN(?!IZERS)|KEY|SECRET|PASS|CREDENTIAL|AUTH|COOKIE|SESSION", re.IGNORECASE)
_VALUE = re.compile(r"=[^&]*")
_COMMAND = re.compile(r"\s*pipe:\s*(?:\w+=\S*\s+)*([\w./+-]*)")
_ADDRESS = re.compile(r"\s*(?:pipe:.*|[a-z][a-z0-9+.-]*://\S+\s*)", re.S)


def hide(text: str) -> str:
    """A text with the credentials of every address in it replaced by `***`; of a `pipe:` its program alone is left."""
    command = _COMMAND.match(text)
    if command is not None:
        return f"pipe:{command.group(1).rpartition('/')[2]} {HIDDEN}"
    return _QUERY.sub(lambda found: found.group(1) + _of_query(found.group(2)), _USER.sub(f"{HIDDEN}@", text))


def hide_variable(name: str, value: str) -> str:
    """The value of an environment variable, `***` where its name says that it is a secret."""
    return HIDDEN if value and _SECRET.search(name) else hide(value)


def hide_addresses(value: Any) -> Any:
    """Plain values with `hide` done to every text in them that is an address, and to no other."""
    if isinstance(value, Mapping):
        return {key: hide_addresses(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [hide_addresses(entry) for entry in value]
    return hide(value) if isinstance(value, str) and _ADDRESS.fullmatch(value) else value


def _of_query(query: str) -> str:
    return _VALUE.sub(f"={HIDDEN}", query) if "=" in query else HIDDEN
