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

from pairalign.recompose.mask import Mask

BLOCK = 1 << 22  # entries of the dense gradient that exist at once
SPARSE = 1 / 32  # below this density int32 positions are smaller than a bitmap


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
    """Single entries: `values` (k,), row by row. chosen: bool (out, in).

    They are remembered as a bitmap of 1 bit an entry, or below a density of 1/32 as int32 positions.
    """

    where: Tensor

    def __init__(self, weight: Tensor, chosen: Tensor) -> None:
        super().__init__(weight)
        count = int(chosen.sum())
        packed = count > SPARSE * chosen.numel()
        where = pack_bits(chosen) if packed else chosen.flatten().nonzero()[:, 0].to(torch.int32)
        self.packed = packed or chosen.numel() >= 2**31
        self.register_buffer("where", (where if self.packed == packed else pack_bits(chosen)).to(weight.device))
        self.starts = _row_starts(chosen)
        self._fill(weight)

    def take(self, weight: Tensor) -> Tensor:
        """(k,)."""
        if self.packed:
            return weight.masked_select(self.bitmap())
        return weight.flatten().index_select(0, self.where)

    def put_(self, weight: Tensor, packed: Tensor) -> None:
        """In place."""
        packed = packed.to(weight.dtype)
        if self.packed:
            weight.masked_scatter_(self.bitmap(), packed)
        else:
            weight.view(-1).index_copy_(0, self.where.long(), packed)

    def gradient(self, grad_output: Tensor, inputs: Tensor) -> Tensor:
        """(k,)."""
        rows, columns = self.shape
        height = max(8, BLOCK // columns // 8 * 8)  # multiples of 8 start at a whole byte of the bitmap
        found = grad_output.new_empty(self.count)
        for top in range(0, rows, height):
            bottom = min(top + height, rows)
            dense = grad_output[:, top:bottom].mT @ inputs
            part = slice(self.starts[top], self.starts[bottom])
            if self.packed:
                bits = self.where[top * columns // 8 : -(-bottom * columns // 8)]
                found[part] = dense.masked_select(unpack_bits(bits, dense.numel()).view_as(dense))
            else:
                found[part] = dense.flatten().index_select(0, self.where[part] - top * columns)
        return found

    def mask(self) -> Mask:
        """Its entries."""
        return Mask("entries", self.shape, self.bitmap())

    def bitmap(self) -> Tensor:
        """bool (out, in)."""
        size = self.shape[0] * self.shape[1]
        if self.packed:
            return unpack_bits(self.where, size).view(self.shape)
        return (
            torch.zeros(size, dtype=torch.bool, device=self.where.device)
            .index_fill_(0, self.where.long(), True)
            .view(self.shape)
        )


def pack_bits(chosen: Tensor) -> Tensor:
    """A bool tensor as uint8 (ceil(n / 8),), the first entry in the lowest bit."""
    flat = chosen.flatten()
    flat = torch.nn.functional.pad(flat.to(torch.uint8), (0, -len(flat) % 8)).view(-1, 8)
    return (flat << _shifts(flat.device)).sum(1, dtype=torch.uint8)


def unpack_bits(bits: Tensor, count: int) -> Tensor:
    """The first `count` bits, as a flat bool tensor."""
    return bits[:, None].bitwise_and(1 << _shifts(bits.device)).bool().flatten()[:count]


def _shifts(device: torch.device) -> Tensor:
    return torch.arange(8, dtype=torch.uint8, device=device)


def _row_starts(chosen: Tensor) -> list[int]:
    """How many entries lie before each row, and before the end."""
    return [0, *chosen.sum(1).cumsum(0).tolist()]
