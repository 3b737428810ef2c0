"""Linear layers watched in forward passes, and a model whose activations have gradients though its base is frozen.

Where it bites: a frozen base gives no gradient by itself, so the input embeddings are made to require one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pairalign.recompose.significance.scores import Linears


@contextmanager
def watched(
    model: nn.Module, linears: Linears, see: Callable[[str, Tensor, Tensor], None]
) -> Iterator[Callable[[], Tensor]]:
    """Within it, `see(name, x, y)` gets every layer's input (B, T, in) and output (B, T, out) of every forward pass.

    Yields a function that returns the last pass's input embeddings, a leaf that requires a gradient.
    """
    last: list[Tensor] = []

    def embed(output: Tensor) -> Tensor:
        last[:] = [output.detach().requires_grad_(True)]
        return last[0]

    handles = [
        module.register_forward_hook(lambda _, args, output, name=name: see(name, args[0], output))
        for name, module in linears.items()
    ]
    find: Any = getattr(model, "get_input_embeddings", None)
    if find is not None:
        handles.append(find().register_forward_hook(lambda _, args, output: embed(output)))
    training = model.training
    try:
        model.eval()
        with torch.enable_grad():
            yield lambda: last[0]
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()


@contextmanager
def captured(model: nn.Module, linears: Linears) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """Within it, every forward pass leaves the layers' inputs (B, T, in), detached, and outputs (B, T, out)."""
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}

    def keep(name: str, input: Tensor, output: Tensor) -> None:
        inputs[name], outputs[name] = input.detach(), output

    with watched(model, linears, keep):
        yield inputs, outputs
