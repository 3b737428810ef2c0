"""Training batches of stage two: every task has its places in each step, in an order that follows from the seed.

Where it bites: batch number n is a function of (seed, n) and the tasks alone, so that a resumed run goes on with the
batch that the killed one would have seen; the batches of an optimizer step, of all processes and all that are
accumulated, are together the batch of one process that has as many places. A task with few places may therefore be
missing from one of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from torch.utils.data import IterableDataset, get_worker_info

from pairalign.core.errors import ConfigError, DataError
from pairalign.finetune.collator import Batch, Collator
from pairalign.finetune.damaged import sifted
from pairalign.finetune.tasks import Example, Task


class TaskFeed(IterableDataset[Batch]):
    """Endless batches of `size` examples a process, `accumulate` of them a step, from batch number `start`."""

    def __init__(
        self,
        tasks: Sequence[Task],
        collate: Collator,
        size: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        accumulate: int = 1,
    ) -> None:
        self.tasks, self.collate, self.seed = tasks, collate, seed
        self.places = deal([task.config.weight for task in tasks], size, accumulate * world)
        self.rank, self.world, self.start = rank, world, 0

    def __iter__(self) -> Iterator[Batch]:
        info = get_worker_info()
        number, workers = (info.id, info.num_workers) if info else (0, 1)
        worker = (number + self.start) % workers  # the loader asks worker 0 first, also after a resume
        done = (self.start - worker + workers - 1) // workers  # batches that this worker has made
        stream, streams = worker * self.world + self.rank, self.world * workers
        mine = [self.places[(stream + n * streams) % len(self.places)] for n in range(len(self.places))]
        examples = []
        for n, task in enumerate(self.tasks):
            block, before = [counts[n] for counts in self.places], _before([counts[n] for counts in mine], done)
            examples.append(task.shuffled(before, self.seed + n, stream, streams, block) if any(block) else iter(()))
        for counts in itertools.islice(itertools.cycle(mine), done % len(mine), None):
            turns = zip(self.tasks, examples, counts, strict=True)
            yield self._batch([(task, next(one)) for task, one, count in turns for _ in range(count)])

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


def _before(counts: Sequence[int], turns: int) -> int:
    """The sum of the first so many of `counts`, which come over and over."""
    rounds, rest = divmod(turns, len(counts))
    return rounds * sum(counts) + sum(counts[:rest])


def deal(weights: Sequence[float], size: int, turns: int) -> list[list[int]]:
    """Places of each task in each of the `turns` batches of `size` that make one step.

    All together they are those of a batch of `turns` × `size`; each task's are spread evenly over them.
    """
    counts = shares(weights, size, turns)
    spread = sorted(((place + 0.5) / count, task) for task, count in enumerate(counts) for place in range(count))
    batches = [[task for _, task in spread[n * size : (n + 1) * size]] for n in range(turns)]
    return [[batch.count(task) for task in range(len(counts))] for batch in batches]


def shares(weights: Sequence[float], size: int, times: int = 1) -> list[int]:
    """Places of each task in `times` batches of `size`, by largest remainder; a task with weight keeps at least one."""
    total = sum(weights)
    if total <= 0 or min(weights) < 0:
        raise ConfigError(f"task weights {list(weights)}: give at least one above 0 and none below.")
    size, each = size * times, size
    exact = [size * weight / total for weight in weights]
    found = [int(value) for value in exact]
    for n in sorted(range(len(exact)), key=lambda n: found[n] - exact[n])[: size - sum(found)]:
        found[n] += 1
    if any(weight > 0 and not count for weight, count in zip(weights, found, strict=True)):
        more = f" in {times} batches a step" if times > 1 else ""
        raise ConfigError(f"train.batch_size={each}{more} has no place for each of {len(weights)} tasks: raise it.")
    return found
