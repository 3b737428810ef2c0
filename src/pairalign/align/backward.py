"""One backward pass an edge: the gradient of all edges' losses with the activations of one edge at a time in memory.

An encoder's output is cut off from its graph; each edge is led back to that cut as soon as its loss is known, and the
encoder once, when the last edge over the same samples is done. The sum of what was found is put into the graph of one
scalar, the step's loss, so that Lightning's backward pass only hands it out: accumulation, clipping, loss scaling and
DDP's single reduction a step work as for any loss.

Note:
    Gradients are found in `training_step` and not in `backward`, so hooks on parameters' gradients run once a step,
    after all edges.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pairalign.align.model import PairAligner, Side
from pairalign.data.graph import Edge


class EdgeByEdge:
    """Collects the gradients of one step.

    scale: what losses are multiplied with on the way back, and gradients divided by, so that half precision does not
        round small ones to zero.
    """

    def __init__(self, aligner: PairAligner, scale: float = 1.0) -> None:
        self.aligner, self.scale = aligner, scale
        inside = {id(p) for encoder in aligner.encoders.values() for p in encoder.parameters()}
        self.outside = [p for p in aligner.parameters() if p.requires_grad and id(p) not in inside]
        self.found: dict[nn.Parameter, Tensor] = {}
        self.losses: list[Tensor] = []

    def encoded(
        self, edges: Sequence[Edge], sides: Mapping[str, Side]
    ) -> Iterator[tuple[Edge, dict[str, Tensor], dict[str, Side]]]:
        """Every edge over the same samples with the outputs of its encoders, which are run once; `add` the loss of one
        before asking for the next."""
        left = Counter(end for edge in edges for end in edge)
        outputs: dict[str, Tensor] = {}
        self.cuts: dict[str, Tensor] = {}
        for edge in edges:
            for end in edge:
                if end not in outputs:
                    outputs[end] = self.aligner.pooled(end, sides[end])
                    self.cuts[end] = outputs[end].detach().requires_grad_(outputs[end].requires_grad)
            yield edge, {end: self.cuts[end] for end in edge}, {end: sides[end] for end in edge}
            for end in edge:
                left[end] -= 1
                if not left[end]:
                    self._lead_back(end, outputs.pop(end), self.cuts.pop(end).grad)

    def add(self, loss: Tensor) -> None:
        """Lead the loss of the edge that was given last back to its encoders' outputs."""
        self.losses.append(loss.detach())
        if not loss.requires_grad:
            return
        cuts = [cut for cut in self.cuts.values() if cut.requires_grad]
        with torch.autocast(loss.device.type, enabled=False):
            grads = torch.autograd.grad(loss * self.scale, [*self.outside, *cuts], allow_unused=True)
        for parameter, grad in zip(self.outside, grads, strict=False):
            self._keep(parameter, grad)
        for cut, grad in zip(cuts, grads[len(self.outside) :], strict=True):
            if grad is not None:
                cut.grad = grad if cut.grad is None else cut.grad + grad

    def total(self) -> Tensor:
        """The sum of all losses, whose backward pass gives every parameter its gradient."""
        loss = torch.stack(self.losses).sum()
        if not self.found:
            return loss
        parameters, grads = list(self.found), list(self.found.values())
        self.found = {}
        return _Handed.apply(loss, grads, 1 / self.scale, *parameters)

    def _lead_back(self, end: str, output: Tensor, grad: Tensor | None) -> None:
        if grad is None:
            return
        parameters = [p for p in self.aligner.encoder(end).parameters() if p.requires_grad]
        with torch.autocast(output.device.type, enabled=False):
            grads = torch.autograd.grad(output, parameters, grad, allow_unused=True)
        for parameter, found in zip(parameters, grads, strict=True):
            self._keep(parameter, found)

    def _keep(self, parameter: nn.Parameter, grad: Tensor | None) -> None:
        if grad is not None:
            before = self.found.get(parameter)
            self.found[parameter] = grad if before is None else before + grad  # may be a view of another's


class _Handed(torch.autograd.Function):
    """forward(loss, gradients, factor, *parameters) -> loss; backward hands the gradients to the parameters."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, grads: list[Tensor], factor: float, *parameters: Tensor) -> Tensor:
        ctx.grads, ctx.factor = grads, factor
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        given, ctx.grads = ctx.grads, None  # the parameters' from now on
        factor = float(grad) * ctx.factor
        return (None, None, None, *(given if factor == 1 else (one * factor for one in given)))
