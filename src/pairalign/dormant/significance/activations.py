"""How much the answers of a task move with each neuron: its activation times the loss's gradient by it.

`I = mean over samples of Σ_tokens abs(h · dL/dh)`, h the input of the matrix that reads an MLP's activations and L the
sample's own loss, the mean cross entropy of its answer: a first-order (Taylor) estimate of what the loss would change
without the neuron. The sum runs over all tokens, words as picture patches, so that towers of either kind are measured
alike, and padding, whose gradient is zero, counts nothing.

Note:
    Needs answers, and keeps the whole graph of a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pairalign.core.errors import DormantError
from pairalign.dormant.provenance import tasks_of
from pairalign.dormant.significance.answers import answer_losses
from pairalign.dormant.significance.capture import frozen
from pairalign.dormant.significance.scores import Batch, Linears

Importance = dict[str, dict[str, Tensor]]


def measure_importance(
    model: nn.Module, readers: Linears, calibration: Iterable[Batch] | None, score: str
) -> Importance:
    """I (neurons,), float32, by task and by the name of the matrix that reads them; the task of batches that say none
    is "". Raise `DormantError` for data that is missing, has no answers, or never reaches one of these.
    """
    if calibration is None:
        raise DormantError(f"score={score!r} looks at data: give calibration, answered batches of the model's inputs.")
    tasks, found, samples = tasks_of(calibration), Importance(), dict[str, int]()
    with frozen(model), activations(readers) as met:
        for place, batch in enumerate(calibration):
            met.clear()
            task = tasks[place] if place < len(tasks) else ""
            losses = answer_losses(model, batch, score)
            gradients = torch.autograd.grad(losses.sum(), [h for _, h in met], allow_unused=True)
            total = found.setdefault(task, {})
            for (name, h), gradient in zip(met, gradients, strict=True):
                effect = h.detach().new_zeros(h.shape[-1]).float()
                if gradient is not None:
                    effect = (h.detach().float() * gradient.float()).abs().flatten(0, -2).sum(0)
                total[name] = total[name] + effect if name in total else effect
            samples[task] = samples.get(task, 0) + len(losses)
    if not samples:
        raise DormantError(f"calibration is empty: score={score!r} needs at least one batch.")
    unseen = [name for name in readers if not any(name in total for total in found.values())]
    if unseen:
        raise DormantError(f"score={score!r}: the calibration data never reached {unseen[0]}; give data that does.")
    nothing = {name: torch.zeros(m.in_features, device=m.weight.device) for name, m in readers.items()}
    return {
        task: {name: total.get(name, nothing[name]) / samples[task] for name in readers}
        for task, total in found.items()
    }


@contextmanager
def activations(readers: Mapping[str, nn.Module]) -> Iterator[list[tuple[str, Tensor]]]:
    """Within it, a forward pass adds each reader's name and input, which has a gradient, in order."""
    met: list[tuple[str, Tensor]] = []

    def see(name: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
        h = args[0] if args[0].requires_grad else args[0].detach().requires_grad_(True)
        met.append((name, h))
        return (h, *args[1:])

    handles = [m.register_forward_pre_hook(lambda _, args, name=name: see(name, args)) for name, m in readers.items()]
    try:
        yield met
    finally:
        for handle in handles:
            handle.remove()
