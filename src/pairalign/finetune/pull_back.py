"""How far a run's weights are taken back to the base after training: by a given share, or by what validation chooses.

    train: {pull_back: auto}

`SHARES` of the way from the base are measured with the weights of the last step, and that is kept which learned most
within `max_forgetting`; of those that learned equally much, the nearest to the base.

Note:
    Each share is one more measurement of all validation and held-out tasks. The bridge stays as it was trained. What is
    chosen by validation has learned a little less than validation says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal

from torch import nn

from pairalign.core.errors import ConfigError
from pairalign.dormant.pulled import pull_back
from pairalign.finetune.config import RecomposeConfig
from pairalign.finetune.gate import Measured, learned
from pairalign.finetune.methods.method import Method, remembered

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
Asked = float | Literal["auto"] | None


@dataclass
class PullBack:
    """asked: the share, "auto", or `None` for 1. share: what counts now. tried: what "auto" measured, by share."""

    asked: Asked = None
    share: float = 1.0

    def __post_init__(self) -> None:
        self.tried: dict[float, Measured] = {}
        if isinstance(self.asked, float | int):
            self.share = float(self.asked)

    @property
    def chooses(self) -> bool:
        """Whether validation is to say how far."""
        return self.asked == "auto"

    @contextmanager
    def settled(self, method: Method, llm: nn.Module) -> Iterator[None]:
        """Within it the language model computes what it will when it is kept; what trains is as before afterwards."""
        with method.settled(llm):
            ends = list(method.ends(llm)) if self.share != 1 else []
            with remembered({str(n): now for n, (now, _) in enumerate(ends)}) if ends else nullcontext():
                pull_back(ends, self.share)
                yield

    def finish(self, method: Method, llm: nn.Module) -> nn.Module:
        """The language model as it is used; called once, after training."""
        finished = method.finish(llm)
        if self.share != 1:
            pull_back(method.ends(finished), self.share)
        return finished

    def choose(self, measure: Callable[[], Measured], within: Callable[[Measured], bool]) -> Measured:
        """Try every share, keep the best, and give what was measured there.

        within: whether a measurement is within the bound. Where none is, all of what was learned is kept for the gate
        to refuse.
        """
        for self.share in SHARES:
            self.tried[self.share] = measure()
        good = {share: _right(found) for share, found in self.tried.items() if within(found)}
        self.share = max(good, key=lambda share: (good[share], -share), default=1.0)
        return self.tried[self.share]


def _right(found: Measured) -> float:
    """Mean accuracy on validation."""
    score = learned(found)
    return 0.0 if score is None else score[0]


def check_pull_back(config: RecomposeConfig, method: Method) -> None:
    """Raise `ConfigError` for a run with nothing to take back, or nothing to choose by, before anything is loaded."""
    asked = config.train.pull_back
    if asked is None:
        return
    told = f"train.pull_back={asked!r}: "
    if not method.can_pull_back:
        raise ConfigError(f"{told}method {config.method!r} changes no weight of the language model: leave it out.")
    if not config.train.steps:
        raise ConfigError(f"{told}with train.steps=0 nothing is learned: leave it out.")
    if asked == "auto" and not config.validation:
        raise ConfigError(f"{told}needs validation tasks, which say how much was learned: name some, or give a number.")


def told(pull: PullBack, flat: Callable[[Measured], Mapping[str, float]]) -> dict[str, object] | None:
    """For results.json: the share that is kept, and what every one that was tried gave; `None` where none was asked."""
    if pull.asked is None:
        return None
    return {
        "share": pull.share,
        "asked": pull.asked,
        "tried": [{"share": share, **flat(found)} for share, found in pull.tried.items()],
    }
