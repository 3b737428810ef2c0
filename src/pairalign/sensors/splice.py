"""Vectors put in the place of tokens, on the way through a model's own embedding layer.

The model is called with token ids as ever, so that everything that it works out from them, such as where images go
and positions on several axes, stays its own; only the rows that the embedding layer returns are replaced.
Where it bites: it replaces every time the whole prompt is embedded, which without a KV cache is at every new token.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def spliced(embedding: nn.Module, places: Tensor, vectors: Tensor) -> Iterator[None]:
    """Within it, `embedding` returns `vectors` (M, H), in reading order, at the M true `places` (B, T) of a prompt.

    A batch of k·B rows, as beams make it, gets every prompt's vectors k times in a row.
    """
    batch, length = places.shape
    known: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def dense(like: Tensor) -> Tensor:
        key = (like.dtype, like.device)
        if key not in known:
            empty = vectors.new_zeros(batch, length, vectors.shape[-1]).to(*key[::-1])
            known[key] = empty.index_put(torch.nonzero(places.to(like.device), as_tuple=True), vectors.to(*key[::-1]))
        return known[key]

    def place(_: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
        if output.ndim != 3 or output.shape[1] < length or output.shape[0] % batch:
            return None  # a new token, or something that is no prompt
        copies = output.shape[0] // batch
        new, where = dense(output), places.to(output.device).unsqueeze(-1)
        if copies > 1:
            new, where = new.repeat_interleave(copies, 0), where.repeat_interleave(copies, 0)
        return torch.cat([torch.where(where, new, output[:, :length]), output[:, length:]], 1)

    handle = embedding.register_forward_hook(place)
    try:
        yield
    finally:
        handle.remove()
