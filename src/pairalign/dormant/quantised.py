"""Frozen weights that are stored in 8 or 4 bits, read as floating-point numbers where something asks for them.

What is known: torchao's weight-only integers (an `nn.Linear` whose weight is a tensor subclass) and bitsandbytes' 4
bits (`Linear4bit`, nf4 or fp4). A read weight is a copy that lives as long as whoever asked for it holds it.

Note:
    Torchao's matrix product keeps a floating-point copy of every weight for the backward pass, and bitsandbytes
    rewrites a weight for its CPU kernels, with loss, when a layer in evaluation mode is first called. `settle` ends
    both, and is to be called before the first forward pass. On the CPU bitsandbytes takes the wrong scales for rows
    that end within a block of 64; such a layer is refused.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pairalign.core.errors import DormantError
from pairalign.sharding import whole

INTEGERS = ("Int8Tensor", "IntxUnpackedToInt8Tensor")  # of torchao, by class name: it is an extra, and slow to import
ACTIVATIONS = ("act_quant_kwargs", "activation_quantization", "act_pre_scale")  # what makes them more than weights


def form_of(weight: Tensor) -> str | None:
    """How a weight is quantised, "int8", "int4", "nf4", …; `None` for plain numbers, or a form that is not known."""
    state = getattr(weight, "quant_state", None)
    if state is not None:
        return str(state.quant_type)
    if type(weight).__name__ not in INTEGERS or any(getattr(weight, name, None) is not None for name in ACTIVATIONS):
        return None
    return str(getattr(weight, "target_dtype", torch.int8)).removeprefix("torch.")


def is_plain(weight: Tensor) -> bool:
    """Whether a weight is of floating-point numbers of at least 16 bits, and of no package's own storage."""
    packed = hasattr(weight, "tensor_data_names")
    return not packed and weight.is_floating_point() and weight.element_size() >= 2


def is_quantised(model: nn.Module) -> bool:
    """Whether any linear layer of a model has no plain weight."""
    return any(isinstance(m, nn.Linear) and not is_plain(m.weight) for m in model.modules())


def dtype_of(weight: Tensor) -> torch.dtype:
    """The dtype that a weight is computed with."""
    state = getattr(weight, "quant_state", None)
    found: torch.dtype = weight.dtype if state is None else state.dtype
    return found


def shape_of(weight: Tensor) -> tuple[int, int]:
    """(out, in) of a weight, however it is packed."""
    state = getattr(weight, "quant_state", None)
    rows, columns = weight.shape if state is None else state.shape
    return int(rows), int(columns)


def count_of(parameters: nn.Module) -> int:
    """Entries of all parameters of a module, however they are packed."""
    states = ((p, getattr(p, "quant_state", None)) for p in parameters.parameters())
    return sum(p.numel() if state is None else state.shape.numel() for p, state in states)


def bytes_of(tensor: Tensor) -> int:
    """Bytes that a tensor takes in memory."""
    state = getattr(tensor, "quant_state", None)
    parts = stored_parts(tensor) if state is None else {"data": tensor.data, **_tensors(state)}
    return sum(part.numel() * part.element_size() for part in parts.values())


def stored_parts(tensor: Tensor) -> dict[str, Tensor]:
    """The tensors that one is stored as, by name: torchao's integers and scales; "" for a plain one."""
    if not hasattr(tensor, "tensor_data_names"):
        return {"": tensor}
    names = itertools.chain(tensor.tensor_data_names, getattr(tensor, "optional_tensor_data_names", ()))
    return {name: part for name in names if (part := getattr(tensor, name)) is not None}


def bits_of(weight: Tensor) -> list[Tensor]:
    """The plain tensors that say all of a weight, in a fixed order."""
    state = getattr(weight, "quant_state", None)
    if state is None:
        return [whole(weight.detach())] if form_of(weight) is None else list(stored_parts(weight.detach()).values())
    return [weight.data, *_tensors(state).values()]


def dense(weight: Tensor) -> Tensor:
    """A weight (out, in) in floating-point numbers: itself, whole, or a dequantised copy."""
    form = form_of(weight)
    if form is None:
        return whole(weight.detach())
    if (state := getattr(weight, "quant_state", None)) is not None:
        return _dequantise(weight.data, state)
    found: Tensor = weight.detach().dequantize()
    return found


def rows_of(weight: Tensor, index: Tensor) -> Tensor:
    """Rows (k, in) of a weight; of a quantised one no others are dequantised, where its storage allows it."""
    if form_of(weight) is None:
        return weight.index_select(0, index)
    state: Any = getattr(weight, "quant_state", None)
    if state is not None and shape_of(weight)[1] % state.blocksize == 0:
        return _four_bit_rows(weight.data, state, index)
    if type(weight).__name__ == "Int8Tensor":
        found: Tensor = weight.detach()[index].dequantize()  # type: ignore[operator]
        return found
    return dense(weight).index_select(0, index)


def columns_of(weight: Tensor, index: Tensor) -> Tensor:
    """Columns (out, k) of a weight; all of a quantised one is dequantised for a moment."""
    return (weight if form_of(weight) is None else dense(weight)).index_select(1, index)


def settle(layer: nn.Linear) -> None:
    """See that a quantised layer keeps no copies of its weight and is never rewritten; another is left alone."""
    state = getattr(layer.weight, "quant_state", None)
    if getattr(state, "packing_format_for_cpu", False):
        raise DormantError(
            "bitsandbytes rewrote a 4-bit weight for its CPU kernels, which cannot be undone to the bit: load the base "
            "again, with pairalign's load_base or without calling it first."
        )
    if state is not None and layer.weight.device.type == "cpu" and layer.in_features % state.blocksize:
        raise DormantError(
            f"a layer of {layer.in_features} inputs, no multiple of {state.blocksize}: bitsandbytes reads such a "
            f"4-bit weight wrongly on the CPU. Use a GPU, load_in int8, or the base unquantised."
        )
    if hasattr(layer, "support_avx512bf16_for_cpu"):
        packing: Any = layer
        packing.support_avx512bf16_for_cpu = False
    if type(layer) is nn.Linear and form_of(layer.weight) is not None and state is None:
        layer.requires_grad_(False)
        layer.__class__ = FrozenLinear


class FrozenLinear(nn.Linear):
    """A linear layer of torchao's that keeps only its integers for the backward pass."""

    def forward(self, input: Tensor) -> Tensor:
        """As `nn.Linear`."""
        if not (torch.is_grad_enabled() and input.requires_grad):
            return super().forward(input)
        output: Tensor = _FrozenLinear.apply(input, self.weight, self.bias)
        return output


class _FrozenLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.weight, ctx.dtype = weight, input.dtype  # frozen: there is no version of it to check
        return F.linear(input, weight, bias).clone()  # a view, of which torch lets nobody add in place

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        found = grad_output @ dense(ctx.weight).to(grad_output.dtype)
        return found.to(ctx.dtype), None, None


def _tensors(state: Any) -> dict[str, Tensor]:
    """The tensors of a 4-bit weight's state, and of that of its scales."""
    own = {n: part for n, part in vars(state).items() if isinstance(part, Tensor)}
    inner = getattr(state, "state2", None)
    return own if inner is None else {**own, **{f"state2.{n}": part for n, part in _tensors(inner).items()}}


def _dequantise(data: Tensor, state: Any) -> Tensor:
    from bitsandbytes.functional import dequantize_4bit

    found: Tensor = dequantize_4bit(data, state)
    return found


def _four_bit_rows(data: Tensor, state: Any, index: Tensor) -> Tensor:
    """Rows of whole blocks."""
    from bitsandbytes.functional import QuantState, dequantize_blockwise

    absmax = state.absmax
    if state.nested:
        absmax = (dequantize_blockwise(absmax, state.state2) + state.offset).float()
    count, width = state.shape
    chosen = QuantState(
        absmax.view(count, -1).index_select(0, index).flatten(),
        torch.Size((len(index), width)),
        state.code,
        state.blocksize,
        state.quant_type,
        state.dtype,
    )
    packed = data.view(torch.uint8).view(count, -1).index_select(0, index)
    return _dequantise(packed.view(-1, 1), chosen)
