"""Training batches of stage two: every task has its places in each batch, in an order that follows from the seed.

Where it bites: batch number n is a function of (seed, n) and the tasks alone, so that a resumed run goes on with the
batch that the killed one would have seen; the n-th batches of all processes together are the n-th batch of one process
with as many places for each task.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch.utils.data import IterableDataset, get_worker_info

from pairalign.core.errors import ConfigError, DataError
from pairalign.finetune.collator import Batch, Collator
from pairalign.finetune.damaged import sifted
from pairalign.finetune.tasks import Example, Task


class TaskFeed(IterableDataset[Batch]):
    """Endless batches of `size` examples a process, from batch number `start`."""

    def __init__(
        self, tasks: Sequence[Task], collate: Collator, size: int, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        self.tasks, self.collate, self.seed = tasks, collate, seed
        self.shares = shares([task.config.weight for task in tasks], size)
        self.rank, self.world, self.start = rank, world, 0

    def __iter__(self) -> Iterator[Batch]:
        info = get_worker_info()
        number, workers = (info.id, info.num_workers) if info else (0, 1)
        worker = (number + self.start) % workers  # the loader asks worker 0 first, also after a resume
        done = (self.start - worker + workers - 1) // workers  # batches that this worker has made
        turn = worker * self.world + self.rank, self.world * workers
        streams = [
            task.shuffled(done * share, self.seed + n, *turn, block=share) if share else iter(())
            for n, (task, share) in enumerate(zip(self.tasks, self.shares, strict=True))
        ]
        while True:
            turns = zip(self.tasks, streams, self.shares, strict=True)
            yield self._batch([(task, next(stream)) for task, stream, n in turns for _ in range(n)])

    def _batch(self, places: list[tuple[Task, Example | None]]) -> Batch:
        """The batch of the places that are not empty; a sample of which nothing can be made is left out, too."""
        found = [(task, example) for task, example in places if example is not None]
        if not found:
            names = ", ".join(sorted({task.name for task, _ in places}))
            raise DataError(f"every sample of a batch of {names} is damaged: repair them, or raise train.batch_size.")
        if all(task.damaged is None for task, _ in found):
            return self.collate([example for _, example in found])
        return sifted(found, lambda some: self.collate([example for _, example in some]), _note)


def _note(place: tuple[Task, Example], reason: str) -> None:
    task, example = place
    if task.damaged is None:
        raise DataError(f"task {task.name!r}, sample {example.key!r}: {reason}")
    task.note(example.key, reason)


def shares(weights: Sequence[float], size: int) -> list[int]:
    """Places of each task in a batch of `size`, by largest remainder; a task with weight keeps at least one."""
    total = sum(weights)
    if total <= 0 or min(weights) < 0:
        raise ConfigError(f"task weights {list(weights)}: give at least one above 0 and none below.")
    exact = [size * weight / total for weight in weights]
    found = [int(value) for value in exact]
    for n in sorted(range(len(exact)), key=lambda n: found[n] - exact[n])[: size - sum(found)]:
        found[n] += 1
    if any(weight > 0 and not count for weight, count in zip(weights, found, strict=True)):
        raise ConfigError(f"train.batch_size={size} has no place for each of {len(weights)} tasks: raise it.")
    return found
