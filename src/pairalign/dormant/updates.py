"""Packed replacement values for part of one weight: whole rows, whole columns, or single entries.

Each keeps two things: the fp32 master `values` that an optimizer trains, and where they belong. A layer's output is as
if the values stood in place of the base's entries; the weight itself is never written. For rows and columns the dense
(out, in) gradient is never formed, for entries only a block of its rows at a time.
Source: packing instead of masking is our own; the facts behind it (what a masked dense gradient costs, that zeroed
gradients do not freeze) are measured in bench/RESULTS.md.

Note:
    `values` stays float32 whatever `.half()` or `.to(bfloat16)` does to the rest of the model; what acts is their
    rounding to the base's dtype, as in a merged weight.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from pairalign.dormant.quantised import columns_of, dtype_of, rows_of, shape_of
from pairalign.dormant.selection.encoding import decode_places, encode_places
from pairalign.dormant.selection.mask import Mask

BLOCK = 1 << 22  # entries of the dense gradient that exist at once


_kept: ContextVar[dict[Replacement, Tensor] | None] = ContextVar("changes of weights, for one call", default=None)


@contextmanager
def kept_changes() -> Iterator[None]:
    """Within it, in this thread or task and without gradients, what values change is worked out once for each update,
    as one call of `generate` needs it at every token; values that are written meanwhile act from the next call on."""
    token = _kept.set({})
    try:
        yield
    finally:
        _kept.reset(token)


class Replacement(nn.Module, ABC):
    """Some entries of one weight (out, in), packed. The shape of `values` is the subclass's."""

    values: nn.Parameter
    sensors: frozenset[str] | None = None
    """The sensors from whose first token on it acts; `None` for everywhere."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.shape = shape_of(weight)

    def _fill(self, weight: Tensor) -> None:
        """Take the base's entries as start; call it last in a constructor."""
        self.values = nn.Parameter(self.take(weight).detach().to(torch.float32, copy=True))

    @abstractmethod
    def take(self, weight: Tensor) -> Tensor:
        """The packed entries of a weight (out, in)."""

    @abstractmethod
    def put_(self, weight: Tensor, packed: Tensor) -> None:
        """Write packed entries into a weight (out, in), in place, cast to its dtype."""

    @property
    def replaces(self) -> bool:
        """Whether a layer's output is computed anew with these values; else `difference` is added to it."""
        return False

    @abstractmethod
    def difference(self, input: Tensor, weight: Tensor) -> Tensor:
        """What the values change of the output (…, out) for an input (…, in), as `add_` takes it."""

    def add_(self, output: Tensor, difference: Tensor) -> None:
        """Add it to an output, in place."""
        output.add_(difference)

    def _change(self, weight: Tensor) -> Tensor:
        """What the values, rounded as they act, are more than the weight: packed, in its dtype."""
        kept = None if torch.is_grad_enabled() else _kept.get()
        if kept is not None and self in kept:
            return kept[self]
        change = self.values.to(dtype_of(weight)) - self.take(weight)
        if kept is not None:
            kept[self] = change
        return change

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

    @property
    def replaces(self) -> bool:
        """Where they are all rows, and so a weight of their own."""
        return len(self.index) == self.shape[0]

    def take(self, weight: Tensor) -> Tensor:
        """(k, in)."""
        return rows_of(weight, self.index)

    def put_(self, weight: Tensor, packed: Tensor) -> None:
        """In place."""
        weight.index_copy_(0, self.index, packed.to(weight.dtype))

    def difference(self, input: Tensor, weight: Tensor) -> Tensor:
        """Of these rows: (…, k)."""
        return F.linear(input, self._change(weight))

    def add_(self, output: Tensor, difference: Tensor) -> None:
        """In place, there."""
        output.index_add_(-1, self.index, difference.to(output.dtype))

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
        return columns_of(weight, self.index)

    def put_(self, weight: Tensor, packed: Tensor) -> None:
        """In place."""
        weight.index_copy_(1, self.index, packed.to(weight.dtype))

    def difference(self, input: Tensor, weight: Tensor) -> Tensor:
        """Of these columns, times their inputs: (…, out)."""
        return F.linear(input.index_select(-1, self.index), self._change(weight))

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

    @property
    def replaces(self) -> bool:
        """Always: see `replaced_linear`."""
        return True

    def difference(self, input: Tensor, weight: Tensor) -> Tensor:
        """There is none: it would take a dense weight of its own."""
        raise NotImplementedError

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


def replaced_linear(input: Tensor, weight: Tensor, bias: Tensor | None, updates: Sequence[Entries]) -> Tensor:
    """`F.linear` with the values of several updates in a temporary copy of the weight."""
    if torch.is_autocast_enabled(input.device.type):
        input = input.to(torch.get_autocast_dtype(input.device.type))
    output: Tensor = _ReplacedLinear.apply(input, weight, bias, updates, *(update.values for update in updates))
    return output


class _ReplacedLinear(torch.autograd.Function):
    """x (…, in), values of updates → (…, out); gradients of x, of the values, and of a bias.

    The temporary weight is made again for the backward pass, so that nothing of its size is kept for it.
    """

    @staticmethod
    def forward(
        ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None, updates: Sequence[Entries], *values: Tensor
    ) -> Tensor:
        ctx.updates, ctx.bias = updates, None if bias is None else bias.dtype
        ctx.save_for_backward(input, weight, *values)
        with torch.autocast(input.device.type, enabled=False):
            acting = _with_values(weight, updates, values).to(input.dtype)
            return F.linear(input, acting, None if bias is None else bias.to(input.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        input, weight, *values = ctx.saved_tensors
        grad_input = None
        if ctx.needs_input_grad[0]:
            grad_input = grad_output @ _with_values(weight, ctx.updates, values).to(grad_output.dtype)
        rows, inputs = grad_output.flatten(0, -2), input.flatten(0, -2).to(grad_output.dtype)
        grad_bias = rows.sum(0).to(ctx.bias) if ctx.needs_input_grad[2] else None
        grads = (
            update.gradient(rows, inputs).to(update.values.dtype) if needed else None
            for update, needed in zip(ctx.updates, ctx.needs_input_grad[4:], strict=True)
        )
        return (grad_input, None, grad_bias, None, *grads)


def _with_values(weight: Tensor, updates: Sequence[Entries], values: Sequence[Tensor]) -> Tensor:
    weight = weight.detach().clone()
    for update, packed in zip(updates, values, strict=True):
        update.put_(weight, packed)
    return weight
