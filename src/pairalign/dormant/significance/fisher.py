"""Diagonal Fisher information: the mean over samples of the squared gradient of each sample's own loss.

Source: Kirkpatrick et al. 2017, arXiv:1612.00796. Squaring the gradient of a batch, as much code does, is another
quantity: there the samples' gradients cancel.

Note:
    Needs labelled batches, and runs the data once for every group of layers whose accumulators fit into `budget_bytes`,
    so that memory does not grow with the model. A batch with pictures keeps its whole graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from pairalign.core.bounds import Count
from pairalign.core.errors import DormantError
from pairalign.dormant.linears import decoder_prefix
from pairalign.dormant.significance.answers import answer_losses
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
        samples, reached = 0, set[str]()
        with captured(self.model, linears) as (inputs, outputs):
            for batch in (part for whole in self.batches for part in _parts(whole)):
                inputs.clear()
                outputs.clear()
                losses = answer_losses(self.model, batch, "fisher")
                for name, squared in _squared(losses, inputs, outputs, decoder_prefix(self.model)):
                    total[name] += squared
                samples += len(losses)
                reached |= set(outputs)
        if missed := next((name for name in linears if name not in reached), None):
            raise DormantError(f"score='fisher': the calibration data never reached {missed}; give data that does.")
        return {name: value / samples for name, value in total.items()}

    def __iter__(self) -> Iterator[str]:
        return iter(self.linears)

    def __len__(self) -> int:
        return len(self.linears)


def _squared(
    losses: Tensor, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor], decoder: str
) -> Iterator[tuple[str, Tensor]]:
    """By layer, squares (out, in) of each sample's own gradient, to be summed.

    One pass back tells all samples of a text decoder apart, whose tensors are (B, T, ·); the rows of others, such as a
    vision tower's, belong to no sample that could be read off, and take one pass for each.
    """
    apart = all(n.startswith(f"{decoder}.") or not decoder for n in outputs)
    apart = apart and all(y.ndim == 3 and len(y) == len(losses) for y in outputs.values())
    for total in () if not outputs else [losses.sum()] if apart else losses.unbind():
        found = torch.autograd.grad(total, list(outputs.values()), retain_graph=not apart, allow_unused=True)
        for name, gradient in zip(outputs, found, strict=True):
            if gradient is None:
                continue
            pairs = zip(gradient, inputs[name], strict=True) if apart else [(gradient, inputs[name])]
            for rows, columns in pairs:
                yield name, (rows.flatten(0, -2).float().mT @ columns.flatten(0, -2).float()).square()


def _parts(batch: Batch) -> Iterator[Batch]:
    """A batch of text as batches of one sample, which take less memory; one with pictures as it is, for a picture's
    rows do not say whose they are."""
    size = len(batch["input_ids"]) if "input_ids" in batch else 0
    if not size or any(isinstance(v, Tensor) and (v.ndim != 2 or len(v) != size) for v in batch.values()):
        yield batch
        return
    for place in range(size):
        yield {n: v[place : place + 1] if isinstance(v, Tensor) else v for n, v in batch.items()}
