"""What a text encoder may be given as one caption, asked in one place.

Note:
    A lone surrogate (half of an emoji, left by a file that was cut or read in the wrong encoding) passes for a
    character in Python and ends most tokenizers with an error that names no sample.
"""

from __future__ import annotations

from typing import Any

from pairalign.core.errors import SignalError


def check_caption(raw: Any) -> str:
    """The caption itself; raise `SignalError` for what is no text, is empty, or cannot be written as UTF-8."""
    if isinstance(raw, (list, tuple)):
        raise SignalError(f"a list of {len(raw)} captions where one is read: give one of them.")
    if not isinstance(raw, str) or not raw.strip():
        raise SignalError(f"caption {raw!r}: give a text that is not empty.")
    if (reason := unwritable(raw)) is not None:
        raise SignalError(f"caption {raw!r}: {reason}")
    return raw


def unwritable(text: str) -> str | None:
    """Why a text cannot be written as UTF-8, or `None` if it can."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return f"character {error.start} is half of one ({text[error.start]!r}, a lone surrogate): repair the text."
    return None
