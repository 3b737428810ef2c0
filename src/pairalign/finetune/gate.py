"""The gate: which measured weights of a run are kept, given how many points of held-out accuracy may be lost.

The final weights, if they are within the bound and learned something; else the best measurement that is: the most right
answers on validation, then the least forgotten, then the smaller loss, then the earlier. Without validation tasks
nothing says what was learned, and the latest measurement within the bound is the best.
Where it bites: the gate looks at held-out abilities, which a user may not have; without them nothing is guarded, and
the learning rate is then to be chosen by the sensor's own validation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from pairalign.evaluate.forgetting import Change, change
from pairalign.finetune.measure import TaskScore

ROUNDING = 1e-6  # points: 1.00 − 0.85 is a little more than 15 of them

Measured = Mapping[str, Mapping[str, TaskScore]]


def moved(base: Measured, found: Measured, part: str) -> Change | None:
    """The change of accuracy since the base, `None` where nothing of that part is measured."""
    if not found.get(part):
        return None
    old, new = ({name: score.accuracy for name, score in m[part].items()} for m in (base, found))
    return change(old, new)


def forgotten(base: Measured, found: Measured) -> float | None:
    """Points of held-out accuracy lost since the base, `None` without held-out tasks."""
    lost = moved(base, found, "held_out")
    return None if lost is None else 0.0 - lost.points


def learned(found: Measured) -> tuple[float, float] | None:
    """Mean accuracy on validation, and minus its mean loss: larger is better; `None` without validation tasks."""
    scores = list(found.get("validation", {}).values())
    if not scores:
        return None
    return sum(s.accuracy for s in scores) / len(scores), -sum(s.loss for s in scores) / len(scores)


@dataclass
class Best:
    """The best measurement so far: its step, how good it is, the weights that train, and the method's own state."""

    step: int
    rank: tuple[float, ...]
    weights: dict[str, Tensor] = field(repr=False)
    method: dict[str, Tensor] = field(repr=False)

    def state(self) -> dict[str, Any]:
        """Plain values and tensors, for a checkpoint."""
        return {**vars(self), "rank": list(self.rank)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Best:
        """What `state` gave."""
        return cls(**{**state, "rank": tuple(state["rank"])})


@dataclass(frozen=True)
class Gate:
    """bound: points of held-out accuracy that may be lost, `None` for any number."""

    bound: float | None

    def beyond(self, lost: float | None) -> bool:
        """Whether so many points are more than may be lost; exactly as many are not, whatever a float makes of them."""
        return self.bound is not None and lost is not None and lost > self.bound + ROUNDING

    def rank(self, base: Measured, found: Measured, step: int, lost: float | None) -> tuple[float, ...] | None:
        """How good a measurement is, larger is better; `None` if it is beyond the bound or learned nothing."""
        if self.beyond(lost):
            return None
        now, before = learned(found), learned(base)
        if now is None or before is None:
            return (float(step),)
        if now <= before:
            return None
        return (now[0], -(lost or 0.0), now[1], -float(step))
