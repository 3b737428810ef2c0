"""Inputs and outputs of linear layers in one forward pass, ready for gradients of the outputs.

Where it bites: a frozen base gives no gradient by itself, so the input embeddings are made to require one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pairalign.recompose.significance.scores import Linears


@contextmanager
def captured(model: nn.Module, linears: Linears) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """Within it, every forward pass leaves the layers' inputs (B, T, in), detached, and outputs (B, T, out)."""
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}

    def keep(name: str, args: tuple[Tensor, ...], output: Tensor) -> None:
        inputs[name], outputs[name] = args[0].detach(), output

    handles = [
        module.register_forward_hook(lambda _, args, output, name=name: keep(name, args, output))
        for name, module in linears.items()
    ]
    find: Any = getattr(model, "get_input_embeddings", None)
    if find is not None:
        handles.append(find().register_forward_hook(lambda _, args, output: output.requires_grad_(True)))
    training = model.training
    try:
        model.eval()
        with torch.enable_grad():
            yield inputs, outputs
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
