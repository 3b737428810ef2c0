"""Captions: when two say the same, and several of one sample, such as five of one picture, wherever they are stored.

A list of texts in a manifest is stored as parts (`text.00.txt`, `text.01.txt`, …), other shards hold it as JSON. Where
it bites: the texts of one sample say the same thing, so none is the negative of another; what reads them draws one or
counts all, and never joins them.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any


def caption_key(text: str) -> str:
    """What two captions have in common that count as the same: their text in Unicode's form NFKC, without regard to
    case and white space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def several_texts(value: Any) -> list[str] | None:
    """The texts of a field that holds several; `None` where it holds one value, or no texts."""
    if isinstance(value, Mapping) and value.keys() & {"value", "frames"}:
        value = value["value"] if "value" in value else value["frames"]
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        return value
    return None


def draw_place(seed: int, epoch: int, key: str) -> int:
    """The place that a pass takes in a sample's lists, to be wrapped at their ends."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{epoch}/{key}".encode(), digest_size=7).digest(), "little")


def text_at(texts: Sequence[str], place: int) -> str:
    """The text at a place, counted on from the end to the start."""
    return texts[place % len(texts)]
