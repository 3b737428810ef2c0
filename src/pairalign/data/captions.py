"""Several texts of one sample, such as five captions of one picture, wherever they are stored.

A list of texts in a manifest is stored as parts (`text.00.txt`, `text.01.txt`, …), other shards hold it as JSON. Where
it bites: they say the same thing, so they are positives of one another; what reads them draws one or counts all, and
never joins them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def several_texts(value: Any) -> list[str] | None:
    """The texts of a field that holds several; `None` where it holds one value, or no texts."""
    if isinstance(value, Mapping) and value.keys() & {"value", "frames"}:
        value = value["value"] if "value" in value else value["frames"]
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        return value
    return None
