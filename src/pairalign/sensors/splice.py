"""Vectors put in the place of tokens, on the way through a model's own embedding layer.

The model is called with token ids as ever, so that everything that it works out from them, such as where images go
and positions on several axes, stays its own; only the rows that the embedding layer returns are replaced. What is put
where belongs to the call: it is kept for this thread or task alone, so that one model may answer several at once.
Where it bites: it replaces every time the whole prompt is embedded, which without a KV cache is at every new token. The
embedding layer keeps its hook once a signal was read; without signals it changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

_NOTHING: Mapping[int, Splice | None] = MappingProxyType({})
_calls: ContextVar[Mapping[int, Splice | None]] = ContextVar("splices by embedding layer", default=_NOTHING)
_hooking = Lock()


@contextmanager
def spliced(embedding: nn.Module, splice: Splice | None) -> Iterator[None]:
    """Within it, in this thread or task, `embedding` returns what `splice` puts into a prompt, or what it ever does."""
    if splice is not None:
        _hook(embedding)
    token = _calls.set({**_calls.get(), id(embedding): splice})
    try:
        yield
    finally:
        _calls.reset(token)


class Splice:
    """The vectors (M, H) of one call, in reading order, at the M true places (B, T) of its prompt.

    A batch of k·B rows, as beams make it, gets every prompt's vectors k times in a row.
    """

    def __init__(self, places: Tensor, vectors: Tensor) -> None:
        self.places, self.vectors = places, vectors
        self._known: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def place(self, output: Tensor) -> Tensor | None:
        """The embedding layer's output (k·B, T or more, H) with the vectors in it; `None` if it is of no prompt."""
        batch, length = self.places.shape
        if output.ndim != 3 or output.shape[1] < length or output.shape[0] % batch:
            return None  # a new token
        copies = output.shape[0] // batch
        new, where = self._dense(output), self.places.to(output.device).unsqueeze(-1)
        if copies > 1:
            new, where = new.repeat_interleave(copies, 0), where.repeat_interleave(copies, 0)
        return torch.cat([torch.where(where, new, output[:, :length]), output[:, length:]], 1)

    def _dense(self, like: Tensor) -> Tensor:
        """Zeros (B, T, H) with the vectors at their places."""
        key = (like.dtype, like.device)
        if key not in self._known:
            empty = self.vectors.new_zeros(*self.places.shape, self.vectors.shape[-1]).to(like)
            at = torch.nonzero(self.places.to(like.device), as_tuple=True)
            self._known[key] = empty.index_put(at, self.vectors.to(like))
        return self._known[key]


def _hook(embedding: nn.Module) -> None:
    """See that an embedding layer asks what the call puts where; once, because others may be calling it."""
    with _hooking:
        if _place not in embedding._forward_hooks.values():
            embedding.register_forward_hook(_place)


def _place(embedding: nn.Module, _: tuple[Any, ...], output: Tensor) -> Tensor | None:
    splice = _calls.get().get(id(embedding))
    return None if splice is None else splice.place(output)
