"""Where a run computes: its device, its process among how many. Asked once at the start and handed on.

`pairalign.launch` makes the one `Runtime` of a run, by asking Lightning's cluster environments. Where it bites: nobody
else asks torch or the environment; a step that works it out for itself is a fault. Reductions are sums and counts in
float64, over a group of their own on the CPU, so that they neither wait for the accelerator nor round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist

from pairalign.core.errors import ConfigError
from pairalign.stopping import Stopping

T = TypeVar("T")


@dataclass(frozen=True)
class Runtime:
    """One process of a run.

    device: where this process computes. rank: its number of `world`, local_rank on its node of `nodes`.
    launcher: who started the processes, as a user calls it. environment: Lightning's name for the same, for its
        Trainer. group: the processes' group for `all_sum` and its like; None for one process. stopping: what a signal
        does to this run.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    rank: int = 0
    local_rank: int = 0
    world: int = 1
    nodes: int = 1
    launcher: str = "one process"
    environment: Any = field(default=None, repr=False, compare=False)
    group: Any = field(default=None, repr=False, compare=False)
    stopping: Stopping = field(default_factory=Stopping, repr=False, compare=False)

    @property
    def main(self) -> bool:
        """Whether this process writes and prints for all."""
        return self.rank == 0

    @property
    def local_world(self) -> int:
        """Processes on each node."""
        return self.world // self.nodes

    def barrier(self) -> None:
        """Wait until every process is here, however long that takes."""
        if self.world > 1:
            dist.barrier(self.group)

    def broadcast_object(self, value: T) -> T:
        """The main process's value, on every process; others may give anything."""
        if self.world == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held, 0, self.group)
        return held[0]

    def main_only(self, work: Callable[[], T]) -> T:
        """Do `work` on the main process while the others wait; all get what it returned.

        Where it raises, every process of the run ends (`pairalign.launch`).
        """
        return self.broadcast_object(work() if self.main else cast("T", None))

    def all_gather_object(self, value: T) -> list[T]:
        """Every process's value, in the order of ranks."""
        if self.world == 1:
            return [value]
        held: list[Any] = [None] * self.world
        dist.all_gather_object(held, value, self.group)
        return held

    def all_sum(self, values: Sequence[float]) -> list[float]:
        """Sums over all processes, in float64; every process gives as many numbers."""
        return self._reduce(values, dist.ReduceOp.SUM)

    def all_max(self, values: Sequence[float]) -> list[float]:
        """Largest values over all processes, likewise."""
        return self._reduce(values, dist.ReduceOp.MAX)

    def _reduce(self, values: Sequence[float], how: Any) -> list[float]:
        tensor = torch.tensor(list(values), dtype=torch.float64)
        if self.world > 1 and len(tensor):
            dist.all_reduce(tensor, how, self.group)
        return tensor.tolist()


def find_device(asked: str = "auto") -> torch.device:
    """The device that a name asks for: "auto" (the accelerator, if any), "cpu", "cuda", "cuda:1", "gpu", "mps".

    Raises:
        ConfigError: there is no such device here, or the name is none.
    """
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if asked == "auto":
        return accelerator or torch.device("cpu")
    name = asked.replace("gpu", "cuda", 1) if asked.startswith("gpu") else asked
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"device={asked!r}: give auto, cpu, cuda, cuda:N or mps.") from None
    if device.type == "cpu":
        return device
    if accelerator is None or accelerator.type != device.type:
        there = "cpu alone" if accelerator is None else f"cpu and {accelerator.type}"
        raise ConfigError(f"device={asked!r} is not on this machine, which has {there}: give auto or cpu.")
    count = torch.accelerator.device_count()
    if device.index is not None and device.index >= count:
        raise ConfigError(f"device={asked!r}: this machine has {count} of them, numbered from 0.")
    return device
