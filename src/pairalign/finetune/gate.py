"""The gate: which measured weights of a run are kept, given how many points of held-out accuracy may be lost.

Bounded is what is lost without a signal in the prompt, since the base, and with one put in that has nothing to do with
the question, since before training; each position by itself. Kept are the final weights, if they are within the bound
and learned something; else the best measurement that is: the most right answers on validation, then the least
forgotten, then the smaller loss, then the earlier. Without validation tasks nothing says what was learned, and the
latest measurement within the bound is the best.

Note:
    The gate looks at held-out abilities, which a user may not have; without them nothing is guarded, and the learning
    rate is then to be chosen by the sensor's own validation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from pairalign.evaluate.forgetting import Change, change
from pairalign.finetune.config import ForgettingConfig
from pairalign.finetune.measure import TaskScore

ROUNDING = 1e-6  # points: 1.00 − 0.85 is a little more than 15 of them
HELD_OUT = "held_out"
SIGNALLED = {"before": "held_out_before", "behind": "held_out_behind"}
"""What is measured with a signal in the prompt, by its position."""
WHERE = {
    HELD_OUT: "without a signal",
    "held_out_before": "with a signal in front",
    "held_out_behind": "with a signal behind",
}

Measured = Mapping[str, Mapping[str, TaskScore]]
Bound = float | ForgettingConfig | None


def moved(base: Measured, found: Measured, part: str) -> Change | None:
    """The change of accuracy since the base, `None` where nothing of that part is measured."""
    if not found.get(part) or not base.get(part):
        return None
    old, new = ({name: score.accuracy for name, score in m[part].items()} for m in (base, found))
    return change(old, new)


def forgotten(base: Measured, found: Measured) -> dict[str, float]:
    """Points of held-out accuracy lost since the base, by what of `WHERE` is measured."""
    changes = {part: moved(base, found, part) for part in WHERE}
    return {part: 0.0 - lost.points for part, lost in changes.items() if lost is not None}


def learned(found: Measured) -> tuple[float, float] | None:
    """Mean accuracy on validation, and minus its mean loss: larger is better; `None` without validation tasks."""
    scores = list(found.get("validation", {}).values())
    if not scores:
        return None
    return sum(s.accuracy for s in scores) / len(scores), -sum(s.loss for s in scores) / len(scores)


def flat(found: Measured) -> dict[str, float]:
    """Scores as one flat dict, ready for JSON."""
    lines: dict[str, float] = {}
    for part, tasks in found.items():
        for name, score in tasks.items():
            lines[f"{part}/{name}/accuracy"] = score.accuracy
            lines[f"{part}/{name}/loss"] = score.loss
            for extra in ("mass", "drift", "own_mass"):
                if getattr(score, extra) is not None:
                    lines[f"{part}/{name}/{extra}"] = getattr(score, extra)
            if score.contains is not None:
                lines[f"{part}/{name}/contains"] = score.contains.value
            if len(score.kinds) > 1:
                lines |= {f"{part}/{name}/{kind}": value.value for kind, value in score.kinds.items()}
    return lines


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
    """Points of held-out accuracy that may be lost without a signal in the prompt, and with one; `None` for any."""

    without_signal: float | None = None
    with_signal: float | None = None

    @classmethod
    def of(cls, asked: Bound) -> Gate:
        """As `max_forgetting` says: a number bounds both."""
        if isinstance(asked, ForgettingConfig):
            return cls(asked.without_signal, asked.with_signal)
        return cls(asked, asked)

    @property
    def bounds(self) -> bool:
        """Whether anything is bounded."""
        return self.without_signal is not None or self.with_signal is not None

    def bound(self, part: str) -> float | None:
        """What may be lost of one part of `WHERE`."""
        return self.without_signal if part == HELD_OUT else self.with_signal

    def beyond(self, lost: Mapping[str, float]) -> str | None:
        """What is more than may be lost; exactly as much is not, whatever a float makes of it."""
        for part, points in lost.items():
            bound = self.bound(part)
            if bound is not None and points > bound + ROUNDING:
                where = "" if part == HELD_OUT else f" {WHERE[part]}"
                return f"held-out abilities{where} lost {points:.4g} points, more than max_forgetting={bound:g}"
        return None

    def rank(self, base: Measured, found: Measured, step: int) -> tuple[float, ...] | None:
        """How good a measurement is, larger is better; `None` if it is beyond the bound or learned nothing."""
        lost = forgotten(base, found)
        if self.beyond(lost) is not None:
            return None
        now, before = learned(found), learned(base)
        if now is None or before is None:
            return (float(step),)
        if now <= before:
            return None
        return (now[0], -sum(lost.values()), now[1], -float(step))

    def told(self, base: Measured, found: Measured) -> list[dict[str, Any]] | None:
        """For results.json: what was lost of each part, and its bound; `None` where nothing is bounded."""
        if not self.bounds:
            return None
        lost = forgotten(base, found).items()
        return [{"part": WHERE[part], "lost": points, "bound": self.bound(part)} for part, points in lost]
