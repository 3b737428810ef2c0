"""Turns at a model that keeps something of a prompt on itself between the tokens of an answer.

Qwen's vision models keep the offset of the last prompt's positions (`rope_deltas`) as an attribute, and versions of
transformers read it at every token: two answers at once would count with each other's. Such a model answers one call at
a time; all others are called freely.

Note:
    Calls of the language model itself, past `SensorModel`, are not seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any

from torch import nn

KEPT = "rope_deltas"


def keepers_of(llm: nn.Module) -> list[nn.Module]:
    """Modules that keep positions on several axes."""
    return [module for module in llm.modules() if KEPT in vars(module)]


class Turns:
    """Whose turn it is at one language model."""

    def __init__(self) -> None:
        self._lock, self._depth = RLock(), 0

    def __deepcopy__(self, memo: dict[int, Any]) -> Turns:
        return Turns()

    def __reduce__(self) -> tuple[type[Turns], tuple[()]]:
        return Turns, ()

    @contextmanager
    def turn(self, llm: nn.Module) -> Iterator[None]:
        """One call; one made within another one leaves behind what it found."""
        keepers = keepers_of(llm)
        if not keepers:
            yield
            return
        with self._lock:
            found = [getattr(module, KEPT) for module in keepers] if self._depth else []
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                for module, value in zip(keepers, found, strict=False):
                    setattr(module, KEPT, value)
