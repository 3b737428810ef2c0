"""Vectors put in the place of tokens, on the way through a model's own embedding layer.

The model is called with token ids as ever, so that everything that it works out from them, such as where images go
and positions on several axes, stays its own; only the rows that the embedding layer returns are replaced. What is put
where belongs to the call: it is kept for this thread or task alone, so that one model may answer several at once. With
every forward pass it is said which sensor each of its tokens follows, which is what dormant weights act by.

Note:
    It replaces every time the whole prompt is embedded, which without a KV cache is at every new token. The embedding
    layer keeps its hook once a signal was read; without signals it changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from types import MappingProxyType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from pairalign.dormant.following import Followed, follow, following

_NOTHING: Mapping[int, Onward | None] = MappingProxyType({})
_calls: ContextVar[Mapping[int, Onward | None]] = ContextVar("splices by embedding layer", default=_NOTHING)
_hooking = Lock()
_read: WeakKeyDictionary[Any, Followed] = WeakKeyDictionary()  # by cache


@contextmanager
def spliced(embedding: nn.Module, splice: Onward | None) -> Iterator[None]:
    """Within it, in this thread or task, `embedding` returns what `splice` puts into a prompt, or what it ever does."""
    if splice is not None:
        _hook(embedding)
    token = _calls.set({**_calls.get(), id(embedding): splice})
    try:
        with following():
            yield
    finally:
        _calls.reset(token)


class Onward:
    """A call that goes on behind a prompt which was read before, whose tokens followed sensors."""

    def __init__(self, followed: Followed) -> None:
        self.followed = followed
        self._onward: dict[tuple[int, int], Followed] = {}

    def place(self, output: Tensor) -> Tensor | None:
        """The embedding layer's output (k·B, N, H) as it is, but tokens follow what the prompt's last one does."""
        size = output.shape[0], output.shape[1]
        if size not in self._onward:
            self._onward[size] = self.followed.onward(*size)
        follow(self._onward[size])
        return None


class Splice(Onward):
    """The vectors (M, H) of one call, in reading order, at the M true places (B, T) of its prompt.

    A batch of k·B rows, as beams make it, gets every prompt's vectors k times in a row.
    """

    def __init__(self, places: Tensor, vectors: Tensor, followed: Followed) -> None:
        super().__init__(followed)
        self.places, self.vectors = places, vectors
        self._known: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def place(self, output: Tensor) -> Tensor | None:
        """The embedding layer's output (k·B, T or more, H) with the vectors in it; as it is if it is of no prompt."""
        batch, length = self.places.shape
        if output.ndim != 3 or output.shape[0] % batch:
            follow(None)
            return None
        if output.shape[1] < length:
            return super().place(output)  # a new token
        follow(self.followed.repeated(output.shape[0], output.shape[1]))
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


def remember(cache: Any, splice: Onward | None) -> None:
    """Keep of a model's key and value cache what tokens behind it follow."""
    if splice is not None and cache is not None:
        _read[cache] = splice.followed.onward(len(splice.followed.owner), 1)


def recall(cache: Any) -> Onward | None:
    """What a call goes on with behind what was read into a cache before; `None` if no signal was."""
    followed = None if cache is None else _read.get(cache)
    return None if followed is None else Onward(followed)


def _hook(embedding: nn.Module) -> None:
    """See that an embedding layer asks what the call puts where; once, because others may be calling it."""
    with _hooking:
        if _place not in embedding._forward_hooks.values():
            embedding.register_forward_hook(_place)


def _place(embedding: nn.Module, _: tuple[Any, ...], output: Tensor) -> Tensor | None:
    splice = _calls.get().get(id(embedding))
    return None if splice is None else splice.place(output)
