"""Training samples of a task that cannot be read: named, counted, and too many of them end the run.

Note:
    None is replaced. A damaged sample's place in its batch stays empty, so that batch number n holds what it would hold
    anyway, however a run was interrupted. Only training may leave samples out; a measurement is whole or fails.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pairalign.core.errors import DataError, SignalError

READ = (DataError, SignalError)  # what a sample's own fault is
_FEWEST = 100  # samples of which a share is taken at least, as in stage one

T = TypeVar("T")


class Damaged:
    """The damaged samples that one process met; `fraction` of `count` may be."""

    def __init__(self, task: str, fraction: float, count: int) -> None:
        self.task, self.fraction, self.count = task, fraction, count
        self.reasons: dict[str, str] = {}

    def __call__(self, key: str, reason: str) -> None:
        """Name a sample when it is met first; raise `DataError` when there are too many."""
        if key in self.reasons:
            return
        self.reasons[key] = reason
        if len(self.reasons) > self.fraction * max(self.count, _FEWEST):
            first, why = next(iter(self.reasons.items()))
            raise DataError(
                f"task {self.task!r}: {len(self.reasons)} of {self.count} samples are damaged, more than "
                f"train.bad_fraction={self.fraction:g} allows. First: {first}: {why}"
            )
        print(f"damaged sample left out: {self.task} {key}: {reason}", file=sys.stderr, flush=True)


def sifted(examples: Sequence[Any], make: Callable[[list[Any]], T], note: Callable[[Any, str], None]) -> T:
    """What `make` gives of the examples, without those of which it can make nothing alone; these are noted."""
    try:
        return make(list(examples))
    except READ:
        good = [example for example in examples if _alone(example, make, note)]
        if not good or len(good) == len(examples):  # none is left, or no single one is to blame
            raise
        return make(good)


def _alone(example: Any, make: Callable[[list[Any]], Any], note: Callable[[Any, str], None]) -> bool:
    try:
        make([example])
    except READ as error:
        note(example, str(error))
        return False
    return True
