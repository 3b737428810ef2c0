"""Diagonal Fisher information: the mean over samples of the squared gradient of each sample's own loss.

Source: Kirkpatrick et al. 2017, arXiv:1612.00796. Squaring the gradient of a batch, as much code does, is another
quantity: there the samples' gradients cancel.
Where it bites: needs labelled batches (the model must return a loss), and runs the data once for every group of layers
whose accumulators fit into `budget_bytes`, so that memory does not grow with the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pairalign.core.bounds import Count
from pairalign.core.errors import DormantError
from pairalign.dormant.significance.capture import captured
from pairalign.dormant.significance.scores import Batch, Linears, register_score


@register_score("fisher")
def fisher(
    model: nn.Module,
    linears: Linears,
    calibration: Iterable[Batch] | None = None,
    *,
    seed: int = 0,
    budget_bytes: Count = 1 << 30,
) -> Mapping[str, Tensor]:
    """Scores of every weight, computed for a group of layers when one of them is asked for."""
    if calibration is None:
        raise DormantError("score='fisher' looks at data: give calibration, labelled batches of the model's inputs.")
    batches = list(calibration)
    if not batches:
        raise DormantError("calibration is empty: score='fisher' needs at least one batch.")
    return _Fisher(model, linears, batches, budget_bytes)


class _Fisher(Mapping[str, Tensor]):
    def __init__(self, model: nn.Module, linears: Linears, batches: Sequence[Batch], budget_bytes: int) -> None:
        self.model, self.linears, self.batches = model, linears, batches
        self.group_of: dict[str, int] = {}
        filled = group = 0
        for name, module in linears.items():
            size = 4 * module.in_features * module.out_features
            if filled and filled + size > budget_bytes:
                filled, group = 0, group + 1
            filled += size
            self.group_of[name] = group
        self.found: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.found:
            self.found = self._measure(
                {n: self.linears[n] for n, g in self.group_of.items() if g == self.group_of[name]}
            )
        return self.found[name]

    def _measure(self, linears: Linears) -> dict[str, Tensor]:
        total = {n: torch.zeros(m.out_features, m.in_features, device=m.weight.device) for n, m in linears.items()}
        samples = 0
        with captured(self.model, linears) as (inputs, outputs):
            for sample in (one for batch in self.batches for one in _samples(batch)):
                loss = self.model(**sample).loss
                if loss is None:
                    raise DormantError(
                        "score='fisher' needs labels: the model returned no loss for the calibration data."
                    )
                gradients = torch.autograd.grad(loss, list(outputs.values()))
                for name, gradient in zip(outputs, gradients, strict=True):
                    rows, columns = gradient.flatten(0, -2).float(), inputs[name].flatten(0, -2).float()
                    total[name] += (rows.mT @ columns).square()
                samples += 1
        return {name: value / samples for name, value in total.items()}

    def __iter__(self) -> Iterator[str]:
        return iter(self.linears)

    def __len__(self) -> int:
        return len(self.linears)


def _samples(batch: Batch) -> Iterator[dict[str, Any]]:
    """The samples of a batch, each as a batch of one."""
    size = next(len(value) for value in batch.values() if isinstance(value, Tensor))
    for place in range(size):
        yield {n: v[place : place + 1] if isinstance(v, Tensor) and len(v) == size else v for n, v in batch.items()}
