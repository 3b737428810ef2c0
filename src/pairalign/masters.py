"""fp32 masters of weights that train in fewer bits: a step that is smaller than their rounding is not lost.

A weight in bfloat16 has 8 bits of mantissa, and most steps of AdamW at a usual rate are smaller than half of the last
one: trained in place it stands still. Here such a weight has a master in float32, which is what AdamW steps; the weight
is the master rounded, always, and computes as it would after training. Weights in float32 are their own masters, and
their optimizer is torch's AdamW as it was, bit for bit.

Note:
    A weight and its master are written together (`write`), or the next step undoes what was written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer

NAME = "_master"
KEPT = "master"  # in an optimizer's state
FEW = (torch.bfloat16, torch.float16)
MOMENTS = 2


def exact(weight: Tensor) -> Tensor:
    """What a weight stands for: its master, or itself."""
    return getattr(weight, NAME, weight).detach()


def precise(weight: Tensor) -> Tensor:
    """The same value in float32, with gradients to the weight."""
    if not hasattr(weight, NAME):
        return weight.float()
    own = weight.float()
    return exact(weight).to(own.device) + (own - own.detach())


@torch.no_grad()
def write(weight: Tensor, value: Tensor) -> None:
    """Put a value into a weight and, before it is rounded, into its master."""
    if hasattr(weight, NAME):
        exact(weight).copy_(value)
    weight.copy_(value)


def drop_masters(weights: Iterable[Tensor]) -> None:
    """Forget masters: nothing trains any more."""
    for weight in weights:
        if hasattr(weight, NAME):
            delattr(weight, NAME)


def entry_bytes(dtype: torch.dtype) -> int:
    """What training takes for an entry beside it: gradient, moments, and a master where it has one."""
    if dtype in FEW:
        return dtype.itemsize + (1 + MOMENTS) * torch.float32.itemsize
    return (1 + MOMENTS) * dtype.itemsize


def build_adamw(groups: list[dict[str, Any]]) -> Optimizer:
    """torch's AdamW, or one over masters where a weight has fewer bits than float32."""
    few = any(p.dtype in FEW for group in groups for p in group["params"])
    return MasterAdamW(groups) if few else AdamW(groups)


class MasterAdamW(Optimizer):
    """AdamW that steps masters, a weight after the other, so that one gradient at a time is in float32.

    Its state is that of torch's AdamW, and each weight's master.
    """

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        super().__init__(groups, AdamW([torch.zeros(())]).defaults)
        self.weights = [weight for group in self.param_groups for weight in group["params"]]
        for weight in self.weights:
            if weight.dtype in FEW:
                setattr(weight, NAME, weight.detach().float())
        self.own = [[self._one(group, weight) for weight in group["params"]] for group in self.param_groups]

    def _one(self, group: Mapping[str, Any], weight: Tensor) -> AdamW:
        return AdamW([{**group, "params": [exact(weight) if hasattr(weight, NAME) else weight]}])

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of every weight that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group, steppers in zip(self.param_groups, self.own, strict=True):
            told = {name: value for name, value in group.items() if name != "params"}
            for weight, stepper in zip(group["params"], steppers, strict=True):
                if weight.grad is None:
                    continue
                (own,) = stepper.param_groups
                own.update(told)
                (master,) = own["params"]
                if master is weight:
                    stepper.step()
                    continue
                master.grad = weight.grad.to(master.dtype)
                stepper.step()
                master.grad = None
                weight.copy_(master)
        return loss

    def state_dict(self) -> dict[str, Any]:
        """As torch's AdamW gives it, with masters."""
        found: dict[str, Any] = super().state_dict()
        state = {}
        for n, (weight, stepper) in enumerate(zip(self.weights, self._steppers(), strict=True)):
            state[n] = dict(stepper.state_dict()["state"].get(0, {}))
            if hasattr(weight, NAME):
                state[n][KEPT] = exact(weight)
        return {**found, "state": {n: held for n, held in state.items() if held}}

    @torch.no_grad()
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """What `state_dict` gave; without masters, as earlier versions wrote it, they are what the weights are."""
        super().load_state_dict({**state_dict, "state": {}})
        for n, (weight, stepper) in enumerate(zip(self.weights, self._steppers(), strict=True)):
            held = dict(state_dict["state"].get(n, {}))
            if hasattr(weight, NAME):
                exact(weight).copy_(held.pop(KEPT, weight))
                weight.copy_(exact(weight))
            stepper.load_state_dict({**stepper.state_dict(), "state": {0: held} if held else {}})

    def _steppers(self) -> list[AdamW]:
        return [stepper for group in self.own for stepper in group]
