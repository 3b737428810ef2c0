"""Means of what batches gave, over all batches of all processes: sums and counts are added, not means averaged.

Note:
    A mean of means is another number as soon as batches or processes differ in size; and a process that saw nothing
    still takes part. What is added stays on its device, and is not waited for, until it is asked for.
"""

from __future__ import annotations

from collections import defaultdict

from torch import Tensor

from pairalign.runtime import Runtime


class Sums:
    """Weighted means by name."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[Tensor | float, float]] = defaultdict(lambda: (0.0, 0.0))

    def add(self, name: str, mean: Tensor | float, count: float) -> None:
        """A mean over `count` samples, or answer tokens."""
        total, before = self._held[name]
        if isinstance(mean, Tensor):
            mean = mean.detach() if mean.device.type == "mps" else mean.detach().double()  # which has no float64
        self._held[name] = total + mean * count, before + count

    def means(self, runtime: Runtime) -> dict[str, float]:
        """The mean of each name over all processes; every process calls it and gets the same."""
        merged: dict[str, tuple[float, float]] = {}
        mine = {name: (float(total), count) for name, (total, count) in self._held.items()}
        for held in runtime.all_gather_object(mine):
            for name, (total, count) in held.items():
                before = merged.get(name, (0.0, 0.0))
                merged[name] = before[0] + total, before[1] + count
        return {name: total / count for name, (total, count) in merged.items() if count}
