"""Where a run computes: its device, its process among how many. Asked once at the start and handed on.

`pairalign.processes.launch` makes the one `Runtime` of a run, by asking Lightning's cluster environments.

Note:
    Nobody else asks torch or the environment; a step that works it out for itself is a fault. Reductions are sums and
    counts in float64, over a group of their own on the CPU, so that they neither wait for the accelerator nor round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist

from pairalign.core.errors import ConfigError
from pairalign.processes.stopping import Stopping

T = TypeVar("T")
DeviceLike = str | torch.device


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

        Where it raises, every process of the run ends (`pairalign.processes.launch`).
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


def find_device(asked: DeviceLike = "auto", what: str = "device", local_rank: int = 0) -> torch.device:
    """The device that a name asks for: "auto" (the accelerator, if any), "cpu", "cuda", "cuda:1", "mps", or "gpu".

    An accelerator comes with its number: the one asked for, or else `local_rank`. what: how an error calls the setting,
    such as "--device".

    Raises:
        ConfigError: there is no such device here, or the name is none.
    """
    asked, accelerator = str(asked), torch.accelerator.current_accelerator(check_available=True)
    if asked == "cpu" or (asked == "auto" and accelerator is None):
        return torch.device("cpu")
    kind, colon, number = asked.partition(":")
    if kind in ("auto", "gpu") and accelerator is not None:
        kind = accelerator.type
    if bool(colon) != number.isdigit() or not _is_accelerator("cuda" if kind == "gpu" else kind):
        raise ConfigError(f"{what}={asked!r}: give auto, cpu, cuda, cuda:N or mps.")
    if accelerator is None or kind != accelerator.type:
        there = "cpu alone" if accelerator is None else f"cpu and {accelerator.type}"
        raise ConfigError(f"{what}={asked!r} is not on this machine, which has {there}: give auto or cpu.")
    count = torch.accelerator.device_count()
    if colon and int(number) >= count:
        raise ConfigError(f"{what}={asked!r}: this machine has {count} of them, numbered from 0.")
    if not colon and local_rank >= count:
        raise ConfigError(
            f"process {local_rank} of this node sees {count} GPUs: start no more processes than GPUs, and let each see "
            "all of them."
        )
    return torch.device(kind, int(number) if colon else local_rank)


def describe_device(device: torch.device) -> str:
    """A device as a line for people: "cuda:0 (NVIDIA H100)"."""
    name = getattr(getattr(torch, device.type, None), "get_device_name", None)
    return f"{device} ({name(device)})" if name is not None and device.type != "cpu" else str(device)


def _is_accelerator(kind: str) -> bool:
    try:
        return kind not in ("cpu", "meta") and torch.device(kind).type == kind
    except RuntimeError:
        return False
