"""What the base said, kept small: at every place of the right answers its likeliest tokens, and the rest as one.

Note:
    2 KiB a place whatever the vocabulary; `drift_from` says how far that is from the whole distribution. It is
    remembered rather than asked anew, because most methods overwrite the base, and because then all are compared with
    the same words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pairalign.evaluate.forgetting import Likely, drift_from, likeliest

TOKENS = 256


@dataclass(frozen=True)
class BaseAnswers:
    """`likely` (N places), and where each example's places begin: `starts` (examples + 1,)."""

    likely: Likely
    starts: Tensor

    @classmethod
    def of(cls, logits: Tensor, places: Tensor, tokens: int = TOKENS) -> BaseAnswers:
        """Of a batch: logits (B, T, V), and which places count (B, T)."""
        found = likeliest(logits[places], tokens)
        likely = Likely(found.ids.int().cpu(), found.logs.cpu(), found.rest.cpu())
        return cls(likely, torch.cat([torch.zeros(1, dtype=torch.int64), places.sum(1).cumsum(0).cpu()]))

    @classmethod
    def join(cls, parts: Sequence[BaseAnswers]) -> BaseAnswers:
        """Examples one after the other."""
        likely = Likely(*(torch.cat(part) for part in zip(*(p.likely for p in parts), strict=True)))
        lengths = torch.cat([p.starts.diff() for p in parts])
        return cls(likely, torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)]))

    def drifts(self, first: int, logits: Tensor, places: Tensor) -> Tensor:
        """Mean KL from the base over each example's places, for examples from `first` on: (B,), in nats."""
        one, end = int(self.starts[first]), int(self.starts[first + len(logits)])
        base = Likely(*(part[one:end].to(logits.device) for part in self.likely))
        owner = places.nonzero()[:, 0]
        sums = torch.zeros(len(logits), device=logits.device).index_add_(0, owner, drift_from(base, logits[places]))
        return sums / places.sum(1).clamp_min(1)

    def state(self) -> dict[str, Any]:
        """Plain tensors, for a checkpoint."""
        return {**self.likely._asdict(), "starts": self.starts}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> BaseAnswers:
        """What `state` gave."""
        return cls(Likely(*(state[name] for name in Likely._fields)), state["starts"])
