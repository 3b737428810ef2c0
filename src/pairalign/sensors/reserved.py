"""Words that a base reads as something else than text: its special tokens, its picture tokens, sensors' placeholders.

Note:
    A chat template writes pictures and ends of messages as such words, and the tokenizer cannot tell who wrote them, so
    a question that spells one would become a second picture or the end of its message. A text that does is refused by
    name; nothing is taken out of it in silence.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any


def reserved_words(processor: Any) -> frozenset[str]:
    """What texts may not spell, of a processor or a tokenizer."""
    tokenizer = getattr(processor, "tokenizer", processor)
    added = getattr(tokenizer, "added_tokens_decoder", {})
    found = {*tokenizer.all_special_tokens, *(token.content for token in added.values() if token.special)}
    named = (getattr(processor, name, None) for name in dir(processor) if name.endswith("_token"))
    if processor is not tokenizer:  # its image_token, video_token, boi_token, …
        found |= {word for word in named if isinstance(word, str)}
    return frozenset(word for word in found if word.strip())


def spelt_in(text: str, reserved: Collection[str]) -> str | None:
    """The first reserved word that a text spells, the longest of those that begin there; `None` if there is none."""
    places = [(text.find(word), -len(word), word) for word in reserved if word in text]
    return min(places)[2] if places else None
