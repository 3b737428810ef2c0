"""Packed replacement values for part of one weight: whole rows, whole columns, or single entries.

Each keeps three things: the fp32 master `values` that an optimizer trains, the base's own entries `original` in the
base's dtype, and where they belong. `gradient` gives the gradient of the packed values alone; for rows and columns the
dense (out, in) gradient is never formed, for entries only a block of its rows at a time.
Source: packing instead of masking is our own; the facts behind it (what a masked dense gradient costs, that zeroed
gradients do not freeze) are measured in bench/RESULTS.md.
Where it bites: `values` stays float32 whatever `.half()` or `.to(bfloat16)` does to the rest of the model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pairalign.dormant.selection.encoding import decode_places, encode_places
from pairalign.dormant.selection.mask import Mask

BLOCK = 1 << 22  # entries of the dense gradient that exist at once


class Replacement(nn.Module, ABC):
    """Some entries of one weight (out, in), packed. Shapes of `values` and `original` are the subclass's."""

    values: nn.Parameter
    original: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.shape = (weight.shape[0], weight.shape[1])

    def _fill(self, weight: Tensor) -> None:
        """Take the base's entries as original and as start; call it last in a constructor."""
        taken = self.take(weight.detach()).clone()
        self.register_buffer("original", taken)
        self.values = nn.Parameter(taken.to(torch.float32, copy=True))

    @abstractmethod
    def take(self, weight: Tensor) -> Tensor:
        """The packed entries of a weight (out, in)."""

    @abstractmethod
    def put_(self, weight: Tensor, packed: Tensor) -> None:
        """Write packed entries into a weight (out, in), in place, cast to its dtype."""

    @abstractmethod
    def gradient(self, grad_output: Tensor, inputs: Tensor) -> Tensor:
        """Gradient of the packed values from dL/dy (N, out) and x (N, in)."""

    @abstractmethod
    def mask(self) -> Mask:
        """Which entries they are."""

    def bitmap(self) -> Tensor:
        """Which entries they are: bool (out, in)."""
        return self.mask().bitmap()

    @property
    def count(self) -> int:
        """Entries that are replaced."""
        return self.values.numel()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        masters = self.values.detach()
        super()._apply(fn, recurse)
        if self.values.dtype != torch.float32 and not self.values.is_meta:
            self.values.data = masters.to(self.values.device, torch.float32)
        return self


class Rows(Replacement):
    """Whole output rows: `values` (k, in). rows: (k,) positions, ascending."""

    index: Tensor

    def __init__(self, weight: Tensor, rows: Tensor) -> None:
        super().__init__(weight)
        self.register_buffer("index", rows.to(weight.device, torch.int64))
        self._fill(weight)

    def take(self, weight: Tensor) -> Tensor:
        """(k, in)."""
        return weight.index_select(0, self.index)

    def put_(self, weight: Tensor, packed: Tensor) -> None:
        """In place."""
        weight.index_copy_(0, self.index, packed.to(weight.dtype))

    def gradient(self, grad_output: Tensor, inputs: Tensor) -> Tensor:
        """(k, in)."""
        return grad_output.index_select(1, self.index).mT @ inputs

    def mask(self) -> Mask:
        """Its rows."""
        return Mask("rows", self.shape, self.index)


class Columns(Replacement):
    """Whole input columns: `values` (out, k). columns: (k,) positions, ascending."""

    index: Tensor

    def __init__(self, weight: Tensor, columns: Tensor) -> None:
        super().__init__(weight)
        self.register_buffer("index", columns.to(weight.device, torch.int64))
        self._fill(weight)

    def take(self, weight: Tensor) -> Tensor:
        """(out, k)."""
        return weight.index_select(1, self.index)

    def put_(self, weight: Tensor, packed: Tensor) -> None:
        """In place."""
        weight.index_copy_(1, self.index, packed.to(weight.dtype))

    def gradient(self, grad_output: Tensor, inputs: Tensor) -> Tensor:
        """(out, k)."""
        return grad_output.mT @ inputs.index_select(1, self.index)

    def mask(self) -> Mask:
        """Its columns."""
        return Mask("columns", self.shape, self.index)


class Entries(Replacement):
    """Single entries: `values` (k,), row by row. chosen: bool (out, in). `places` remembers where, see `places`."""

    places: Tensor

    def __init__(self, weight: Tensor, chosen: Tensor) -> None:
        super().__init__(weight)
        self.code, places = encode_places(chosen)
        self.register_buffer("places", places.to(weight.device))
        self._fill(weight)

    def take(self, weight: Tensor) -> Tensor:
        """(k,)."""
        return weight.flatten().index_select(0, self.positions())

    def put_(self, weight: Tensor, packed: Tensor) -> None:
        """In place."""
        weight.view(-1).index_copy_(0, self.positions(), packed.to(weight.dtype))

    def gradient(self, grad_output: Tensor, inputs: Tensor) -> Tensor:
        """(k,)."""
        rows, columns = self.shape
        positions = self.positions()
        height = max(1, BLOCK // columns)
        tops = range(0, rows, height)
        starts = torch.searchsorted(positions, torch.tensor([top * columns for top in tops], device=positions.device))
        found = []
        for top, part in zip(tops, positions.tensor_split(starts[1:].cpu()), strict=True):
            dense = grad_output[:, top : top + height].mT @ inputs
            found.append(dense.flatten().index_select(0, part - top * columns))
        return torch.cat(found)

    def positions(self) -> Tensor:
        """In the flat weight: (k,), int64, ascending."""
        return decode_places(self.code, self.places)

    def mask(self) -> Mask:
        """Its entries."""
        rows, columns = self.shape
        marked = torch.zeros(rows * columns, dtype=torch.bool, device=self.places.device)
        return Mask("entries", self.shape, marked.index_fill_(0, self.positions(), True).view(self.shape))
