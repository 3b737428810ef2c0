"""Training mode for what trains, and for nothing else.

A frozen part in training mode is not frozen: batch norm rewrites its running statistics with every batch that it sees,
dropout changes what the part says. A module that has parameters or buffers, none of which trains, stays in evaluation
mode with all that it holds; one that has neither, such as dropout, goes with what it stands in.

Note:
    Layers recompute their activations (gradient checkpointing) only where their own flag says training, so that a
    frozen one on the gradient's way keeps that flag, and alone.
"""

from __future__ import annotations

from torch import nn


def keep_frozen_still(model: nn.Module) -> None:
    """Put into evaluation mode what of a model in training mode is frozen; call it after `train()`."""
    if not _trains(model):
        model.eval()
        for module in model.modules():
            module.training = bool(getattr(module, "gradient_checkpointing", False))
        return
    for child in model.children():
        if next(child.parameters(), None) is not None or next(child.buffers(), None) is not None:
            keep_frozen_still(child)


def _trains(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())
