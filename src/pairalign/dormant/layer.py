"""The dormant engine: linear layers whose base weight nobody trains, beside packed values that anybody may.

`DormantLinear` is an `nn.Linear` with updates by sensor name. A `Replacement` is written into the weight when its
values have changed, so forward and merged passes cost what the base costs; its gradient is that of the packed values.
A `Direction` adds `B Aᵀ x` beside the weight. The base weight never requires a gradient and never meets an optimizer,
so weight decay, momentum and clipping cannot reach a critical entry.
Where it bites: values that train are written at every forward pass, because `.data` (EMA, `vector_to_parameters`, a
plain loop) changes them without a trace; values that are frozen only after a change that leaves one. A backward pass
through a forward pass that saw older values raises. Where the weight is not the layer's own tensor (FSDP2's gathered
one, a copied model), the layer works on a temporary copy instead, which is slower and gives the same.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.optim.optimizer import register_optimizer_step_post_hook

from pairalign.core.errors import DormantError
from pairalign.dormant.directions import Direction
from pairalign.dormant.updates import Replacement
from pairalign.sharding import whole

STALE = "values changed between a forward pass and its backward pass: step the optimizer after both."

_steps = 0


def _count_step(*_: Any) -> None:
    """Some optimizers write through `.data`, which leaves no trace in a tensor's version."""
    global _steps
    _steps += 1


register_optimizer_step_post_hook(_count_step)


class DormantLinear(nn.Linear):
    """A linear layer with updates by name; make one with `adapt`, and undo it with `release`."""

    updates: nn.ModuleDict
    enabled: bool
    _own: weakref.ref[Tensor] | None
    _stamp: tuple[Any, ...] | None

    def forward(self, input: Tensor) -> Tensor:
        """As `nn.Linear`."""
        output = self._replaced(input)
        if self.enabled:
            for update in self.updates.values():
                if isinstance(update, Direction):
                    output = output + update(input).to(output.dtype)
        return output

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_own": None, "_stamp": None}  # a copy's weight is not the one that was adapted

    def replacements(self) -> list[Replacement]:
        """The updates that are written into the weight."""
        return [update for update in self.updates.values() if isinstance(update, Replacement)]

    def effective_weight(self) -> Tensor:
        """A copy of the weight as it acts: replaced, directions added."""
        weight = self._with_values(whole(self.weight.detach()))
        if self.enabled:
            for update in self.updates.values():
                if isinstance(update, Direction):
                    weight = weight + update.delta().to(weight.dtype)
        return weight

    def base_weight(self) -> Tensor:
        """A copy of the weight without any update, bit for bit."""
        weight = whole(self.weight.detach()).clone()
        for update in self.replacements():
            update.put_(weight, update.original)
        return weight

    def _replaced(self, input: Tensor) -> Tensor:
        replacements = self.replacements()
        if not replacements:
            return F.linear(input, self.weight, self.bias)
        if self.weight.requires_grad and torch.is_grad_enabled():
            raise DormantError("a base weight beside dormant values is never trained: set its requires_grad to False.")
        in_place = self._own is not None and self._own() is self.weight
        if in_place:
            self._refresh(replacements)
        trained = [update for update in replacements if update.values.requires_grad] if self.enabled else []
        if not (torch.is_grad_enabled() and trained):
            return F.linear(input, self.weight if in_place else self._with_values(self.weight), self.bias)
        if torch.is_autocast_enabled(input.device.type):
            input = input.to(torch.get_autocast_dtype(input.device.type))
        return _DormantMatmul.apply(
            input, self.weight, self.bias, self, in_place, trained, *(update.values for update in trained)
        )

    def _live(self, update: Replacement) -> Tensor:
        return whole(update.values.detach()) if self.enabled else update.original

    def _with_values(self, weight: Tensor) -> Tensor:
        weight = weight.detach().clone()
        for update in self.replacements():
            update.put_(weight, self._live(update))
        return weight

    @torch.no_grad()
    def _refresh(self, replacements: list[Replacement]) -> None:
        """Write the values into the weight if they, or the weight, may have changed since they were written."""
        changed = self._now(replacements) != self._stamp
        if torch._C._current_graph_task_id() != -1:  # a checkpointed forward pass, run again by its backward pass
            for update in replacements if changed else ():
                if not update.take(self.weight).equal(self._live(update).to(self.weight.dtype)):
                    raise DormantError(STALE)
        elif changed:
            for update in replacements:
                update.put_(self.weight, self._live(update))
        elif self.enabled:  # `.data` leaves no trace; neither does this, so that a backward pass to come may go on
            for update in replacements:
                if update.values.requires_grad:
                    update.put_(self.weight.data, self._live(update))
        self._stamp = self._now(replacements)

    def _now(self, replacements: list[Replacement]) -> tuple[Any, ...]:
        values = (update.values for update in replacements)
        traces = ((value._version, value.data_ptr(), value.requires_grad) for value in values)
        return (_steps, self.enabled, self.weight._version, len(replacements), *traces)


class _DormantMatmul(torch.autograd.Function):
    """x (…, in), values of the trained updates → (…, out); gradients of x, of the packed values, and of a bias."""

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        layer: DormantLinear,
        in_place: bool,
        trained: list[Replacement],
        *values: Tensor,
    ) -> Tensor:
        ctx.layer, ctx.in_place, ctx.trained = layer, in_place, trained
        ctx.bias = None if bias is None else bias.dtype
        ctx.save_for_backward(input, weight)
        with torch.autocast(input.device.type, enabled=False):
            acting = (weight if in_place else layer._with_values(weight)).to(input.dtype)
            return F.linear(input, acting, None if bias is None else bias.to(input.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        try:
            input, weight = ctx.saved_tensors
        except RuntimeError as error:
            if "modified by an inplace operation" not in str(error):
                raise
            raise DormantError(STALE) from error
        grad_input = None
        if ctx.needs_input_grad[0]:
            acting = weight if ctx.in_place else ctx.layer._with_values(weight)
            grad_input = grad_output @ acting.to(grad_output.dtype)
        rows, inputs = grad_output.flatten(0, -2), input.flatten(0, -2).to(grad_output.dtype)
        grad_bias = rows.sum(0).to(ctx.bias) if ctx.needs_input_grad[2] else None
        grads = (
            update.gradient(rows, inputs).to(update.values.dtype) if needed else None
            for update, needed in zip(ctx.trained, ctx.needs_input_grad[6:], strict=True)
        )
        return (grad_input, None, grad_bias, None, None, None, *grads)


def adapt(linear: nn.Linear) -> DormantLinear:
    """Make a linear layer of a model dormant, in place: the same object, with room for updates. Its base is frozen."""
    if isinstance(linear, DormantLinear):
        return linear
    if type(linear) is not nn.Linear:
        raise DormantError(f"a {type(linear).__name__} is no plain nn.Linear: leave it out with exclude_modules.")
    linear.requires_grad_(False)
    linear.__class__ = DormantLinear
    assert isinstance(linear, DormantLinear)
    linear.updates = nn.ModuleDict()
    linear.enabled = True
    linear._own, linear._stamp = weakref.ref(linear.weight), None
    return linear


def attach(layer: DormantLinear, name: str, update: Replacement | Direction) -> None:
    """Add an update under a sensor's name; raise `DormantError` if the name is taken or the entries overlap."""
    if name in layer.updates:
        raise DormantError(f"sensor {name!r} is installed already: uninstall it first.")
    if isinstance(update, Replacement):
        for other, owner in ((o, n) for n, o in layer.updates.items() if isinstance(o, Replacement)):
            shared = int((update.bitmap() & other.bitmap()).sum())
            if shared:
                raise DormantError(f"sensor {name!r} and {owner!r} share {shared} weights: each needs its own.")
    layer.updates[name] = update
    layer._stamp = None


def detach(layer: DormantLinear, name: str) -> None:
    """Remove an update and give the base its entries back, bit for bit."""
    update = layer.updates.pop(name)
    if isinstance(update, Replacement):
        with torch.no_grad():
            update.put_(layer.weight, update.original)
    layer._stamp = None


def release(layer: DormantLinear, merge: bool) -> nn.Linear:
    """The plain linear layer again, the same object: with every update merged into the weight, or with none."""
    with torch.no_grad():
        layer.weight.copy_(layer.effective_weight() if merge else layer.base_weight())
    del layer.updates, layer.enabled, layer._own, layer._stamp
    layer.__class__ = nn.Linear  # type: ignore[assignment]
    return layer


def dormant_linears(model: nn.Module) -> Iterator[tuple[str, DormantLinear]]:
    """Name and layer of every dormant linear layer."""
    return ((name, module) for name, module in model.named_modules() if isinstance(module, DormantLinear))
