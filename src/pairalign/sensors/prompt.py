"""What a person writes around pictures and signals, `"Here is {touch} from a robot."`, as parts of a chat message.

Note:
    Text reaches the chat template as it was written, blanks around a field included. Only the ends of a message lose
    theirs, and so does text beside pictures that open or close it: templates put their own there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

FIELD = re.compile(r"\{(\w+)\}")
PIECE = re.compile(r"(\{\w+\})")
PICTURES = ("image", "video", "audio")

Part = dict[str, Any]


def split_prompt(prompt: str) -> list[str]:
    """Fields in their braces and the text between them; together they are the prompt."""
    return [piece for piece in PIECE.split(prompt) if piece]


def join_text(parts: Iterable[Part]) -> list[Part]:
    """The same parts with neighbouring texts as one, so that a template that trims texts cannot join their words."""
    found: list[Part] = []
    for part in parts:
        if part["type"] == "text" and found and found[-1]["type"] == "text":
            found[-1] = {"type": "text", "text": found[-1]["text"] + part["text"]}
        else:
            found.append(part)
    return found


def message_parts(parts: Iterable[Part]) -> list[Part]:
    """The parts of one message: neighbouring texts joined, its ends without blanks, no part that is empty."""
    found = join_text(parts)
    _strip(found, range(len(found)), str.lstrip)
    _strip(found, range(len(found) - 1, -1, -1), str.rstrip)
    return [part for part in found if part["type"] != "text" or part["text"]]


def _strip(parts: list[Part], order: Sequence[int], strip: Any) -> None:
    """Strip the first text that only pictures come before."""
    for n in order:
        if parts[n]["type"] == "text":
            parts[n] = {"type": "text", "text": strip(parts[n]["text"])}
        if parts[n]["type"] not in PICTURES:
            return
