"""Linear layers watched in forward passes, and a model whose activations have gradients though its base is frozen.

Note:
    A frozen base gives no gradient by itself, so the input embeddings are made to require one, and so is the output of
    a watched layer that no embedding reaches, such as a vision tower's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pairalign.dormant.significance.scores import Linears

See = Callable[[str, Tensor, Tensor], None]


@contextmanager
def frozen(model: nn.Module) -> Iterator[list[Tensor]]:
    """Within it, no weight requires a gradient and the input embeddings do; evaluation mode. All is put back after.

    Yields the leaves of the last forward pass.
    """
    leaves: list[Tensor] = []

    def embed(output: Tensor) -> Tensor:
        leaves.append(output.detach().requires_grad_(True))
        return leaves[-1]

    handles = [model.register_forward_pre_hook(lambda *_: leaves.clear())]
    find: Any = getattr(model, "get_input_embeddings", None)
    if find is not None:
        handles.append(find().register_forward_hook(lambda _, args, output: embed(output)))
    training, trained = model.training, [p for p in model.parameters() if p.requires_grad]
    try:
        model.eval()
        for parameter in trained:
            parameter.requires_grad_(False)
        with torch.enable_grad():
            yield leaves
    finally:
        model.train(training)
        for parameter in trained:
            parameter.requires_grad_(True)
        for handle in handles:
            handle.remove()


@contextmanager
def hooked(linears: Linears, see: See, leaves: list[Tensor]) -> Iterator[None]:
    """Within it, `see(name, x, y)` gets every layer's input (B, T, in) and output (B, T, out), which has a gradient.

    Outputs that no leaf reaches become `leaves` themselves.
    """

    def meet(name: str, input: Tensor, output: Tensor) -> None:
        if not output.requires_grad:
            leaves.append(output.requires_grad_(True))
        see(name, input, output)

    handles = [
        module.register_forward_hook(lambda _, args, output, name=name: meet(name, args[0], output))
        for name, module in linears.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def captured(model: nn.Module, linears: Linears) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """Within it, every forward pass leaves the layers' inputs (B, T, in), detached, and outputs (B, T, out)."""
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}

    def keep(name: str, input: Tensor, output: Tensor) -> None:
        inputs[name], outputs[name] = input.detach(), output

    with frozen(model) as leaves, hooked(linears, keep, leaves):
        yield inputs, outputs
