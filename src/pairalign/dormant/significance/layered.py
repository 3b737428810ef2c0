"""Gradients of several totals at every layer, with the graph of one decoder layer in memory at a time.

One forward pass cuts the graph at the decoder layers: it keeps what each was called with, and its output, a leaf. The
totals' gradients at the leaves then walk back: a layer is run again with a graph, the gradients go through it, and
through what the model does between layers, to the leaves before. Two forward passes instead of one, whatever the depth.

Note:
    Running a layer again must give what it gave. A layer that is handed something that may remember, such as a cache or
    keys shared between layers, cannot be cut out: then there is nothing to walk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from pairalign.dormant.linears import LAYER, decoder_prefix
from pairalign.dormant.significance.capture import See, hooked
from pairalign.dormant.significance.scores import Linears

PLAIN = (Tensor, str, bool, int, float, type(None), torch.dtype, torch.device)


@dataclass
class Call:
    """One call of a decoder layer: what it got, with the graph between it and the layers before, and its output."""

    layer: str
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Tensor = field(init=False)

    def moving(self) -> list[Tensor]:
        """The inputs that have a gradient."""
        return [v for v in (*self.args, *self.kwargs.values()) if isinstance(v, Tensor) and v.requires_grad]


def decoder_layers(model: nn.Module, linears: Linears) -> dict[str, nn.Module]:
    """Decoder layers by name; none if a linear layer lies outside of them."""
    prefix = decoder_prefix(model)
    inside = f"{prefix}." if prefix else ""
    modules = dict(model.named_modules())
    found: dict[str, nn.Module] = {}
    for name in linears:
        place = LAYER.search(name, max(0, len(inside) - 1)) if name.startswith(inside) else None
        if place is None:
            return {}
        siblings = modules[name[: place.start(1) - 1]]
        found |= {f"{name[: place.start(1)]}{n}": module for n, module in siblings.named_children()}
    return found


@contextmanager
def cut(layers: dict[str, nn.Module]) -> Iterator[list[Call]]:
    """Within it, forward passes have no graph inside of the layers.

    Yields the calls in order; there are none after a pass in which one could not be cut out.
    """
    calls: list[Call] = []
    whole = False

    def before(name: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        nonlocal whole
        whole = whole or not all(_plain(value) for value in (*args, *kwargs.values()))
        calls.append(Call(name, module, args, kwargs))
        whole = whole or not calls[-1].moving()
        return _detached(args), _detached(kwargs)

    def after(output: Any) -> None:
        nonlocal whole
        whole = whole or not isinstance(output, Tensor) or output.requires_grad
        if whole:
            calls.clear()
        elif calls:
            calls[-1].output = output.requires_grad_(True)

    handles = []
    for name, module in layers.items():
        handles.append(
            module.register_forward_pre_hook(lambda m, a, k, name=name: before(name, m, a, k), with_kwargs=True)
        )
        handles.append(module.register_forward_hook(lambda _, args, output: after(output)))
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def walk_back(calls: list[Call], totals: Sequence[Tensor], linears: Linears, see: See) -> bool:
    """Push every total's gradient through the layers, last to first; `see` meets each linear layer as it is run again.

    `calls` is used up. Return False, at the first layer that gives something else than it gave, for then it remembers.
    """
    outputs = [call.output for call in calls]
    arrived: list[tuple[Tensor | None, ...]] = [
        torch.autograd.grad(t, outputs, retain_graph=True, allow_unused=True) for t in totals
    ]
    while calls:
        call = calls.pop()
        leaf = outputs.pop()
        own, arrived = [a[-1] for a in arrived], [a[:-1] for a in arrived]
        within = {name: m for name, m in linears.items() if name.startswith(f"{call.layer}.")}
        inputs, output = _run_again(call, within, see)
        if not _same(output.detach(), leaf.detach()):
            return False
        for probe, gradient in enumerate(own):
            if gradient is None:
                continue
            again = probe + 1 < len(own)
            through = torch.autograd.grad(output, inputs, gradient, retain_graph=again, allow_unused=True)
            moved = [(v, g) for v, g in zip(call.moving(), through, strict=True) if g is not None]
            if outputs and moved:
                ends, pushed = zip(*moved, strict=True)
                earlier = torch.autograd.grad(ends, outputs, pushed, retain_graph=True, allow_unused=True)
                arrived[probe] = tuple(_sum(a, e) for a, e in zip(arrived[probe], earlier, strict=True))
    return True


def _run_again(call: Call, linears: Linears, see: See) -> tuple[list[Tensor], Tensor]:
    """The layer's inputs that have a gradient, as leaves, and its output with a graph."""
    args, kwargs = _detached(call.args, keep=True), _detached(call.kwargs, keep=True)
    inputs = [v for v in (*args, *kwargs.values()) if isinstance(v, Tensor) and v.requires_grad]
    with hooked(linears, see, []):
        output: Tensor = call.module(*args, **kwargs)
    return inputs, output


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two outputs differ by rounding at most."""
    tolerance = 3e-2 if one.element_size() < 4 else 1e-4
    return bool((one - other).float().norm() <= tolerance * other.float().norm())


def _plain(value: Any) -> bool:
    """Whether a value is of numbers and fixed tensors; of tensors with a gradient, only an argument itself may be."""
    if isinstance(value, tuple | list):
        return all(_plain(v) and not (isinstance(v, Tensor) and v.requires_grad) for v in value)
    return isinstance(value, PLAIN)


def _detached(values: Any, keep: bool = False) -> Any:
    """Arguments without their graph; those that had a gradient are leaves if `keep`."""
    if isinstance(values, dict):
        return {name: _detached((value,), keep)[0] for name, value in values.items()}
    return tuple(
        value.detach().requires_grad_(keep) if isinstance(value, Tensor) and value.requires_grad else value
        for value in values
    )


def _sum(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other
