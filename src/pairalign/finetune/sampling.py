"""Training batches of stage two: every task has its places in each step, in an order that follows from the seed.

Note:
    Batch number n is a function of (seed, n) and the tasks alone, so that a resumed run goes on with the batch that the
    killed one would have seen; the batches of an optimizer step, of all processes and all that are accumulated, are
    together the batch of one process that has as many places. A task with few places may therefore be missing from one
    of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

from torch.utils.data import IterableDataset, get_worker_info

from pairalign.core.errors import ConfigError, DataError
from pairalign.finetune.buckets import bucketed
from pairalign.finetune.collator import Batch, Collator
from pairalign.finetune.damaged import sifted
from pairalign.finetune.rehearse import Rehearsal
from pairalign.finetune.tasks import Example, Task


class TaskDataset(IterableDataset[Batch]):
    """Endless batches of `size` examples a process, `accumulate` of them a step, from batch number `start`.

    buckets: steps whose samples are sorted by length, see `pairalign.finetune.buckets`; False for none."""

    def __init__(
        self,
        tasks: Sequence[Task],
        collate: Collator,
        size: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        accumulate: int = 1,
        rehearsal: Rehearsal | None = None,
        buckets: int | bool = False,
    ) -> None:
        self.tasks, self.collate, self.seed, self.rehearsal = tasks, collate, seed, rehearsal
        share, turns = 0.0 if rehearsal is None else rehearsal.share, accumulate * world
        self.places = deal([task.config.weight for task in tasks], size, turns, share)
        self.held = rehearsed_places(share, size, turns)
        self.arranged = bucketed(tasks, self.places, buckets, seed, collate)
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
            examples.append(
                task.shuffled(before, self.seed + n, stream, streams, block, self.arranged[n])
                if any(block)
                else iter(())
            )
        for turn in itertools.count(done):
            turns = zip(self.tasks, examples, mine[turn % len(mine)], strict=True)
            batch = self._batch([(task, next(one)) for task, one, count in turns for _ in range(count)])
            yield self._rehearsed(batch, stream + turn * streams)

    def _rehearsed(self, batch: Batch, number: int) -> Batch:
        """The batch of this number, of all processes, with what it is to rehearse."""
        step, turn = divmod(number, len(self.held))
        if self.rehearsal is None or not self.held[turn]:
            return batch
        first = step * sum(self.held) + sum(self.held[:turn])
        return replace(batch, rehearsed=self.rehearsal.batch(range(first, first + self.held[turn]), self.collate))

    def _batch(self, places: list[tuple[Task, Example | None]]) -> Batch:
        """The batch of the places that are not empty; a sample of which nothing can be made is left out, too."""
        found = [(task, example) for task, example in places if example is not None]
        if not found:
            names = ", ".join(sorted({task.name for task, _ in places}))
            raise DataError(f"every sample of a batch of {names} is damaged: repair them, or raise train.batch_size.")
        if all(task.damaged is None for task, _ in found):
            return self.collate([example for _, example in found])
        return sifted(found, lambda some: self.collate([example for _, example in some]), _note)


TaskFeed = TaskDataset  # earlier name


def _note(place: tuple[Task, Example], reason: str) -> None:
    task, example = place
    if task.damaged is None:
        raise DataError(f"task {task.name!r}, sample {example.key!r}: {reason}")
    task.note(example.key, reason)


def _before(counts: Sequence[int], turns: int) -> int:
    """The sum of the first so many of `counts`, which come over and over."""
    rounds, rest = divmod(turns, len(counts))
    return rounds * sum(counts) + sum(counts[:rest])


def deal(weights: Sequence[float], size: int, turns: int, rehearsed: float = 0.0) -> list[list[int]]:
    """Places of each task in each of the `turns` batches of `size` that make one step, of which a share rehearses.

    All together they are those of a batch of `turns` × `size`; each task's are spread evenly over them.
    """
    held = rehearsed_places(rehearsed, size, turns)
    if max(held) >= size:
        raise ConfigError(
            f"train.batch_size={size} has no place to learn beside train.rehearse.share={rehearsed:g}: raise it, or "
            "lower the share."
        )
    counts = shares(weights, size, turns, sum(held))
    spread = sorted(((place + 0.5) / count, task) for task, count in enumerate(counts) for place in range(count))
    ends = [0, *itertools.accumulate(size - own for own in held)]
    batches = [[task for _, task in spread[first:last]] for first, last in itertools.pairwise(ends)]
    return [[batch.count(task) for task in range(len(counts))] for batch in batches]


def rehearsed_places(share: float, size: int, turns: int) -> list[int]:
    """Places of each of the `turns` batches of `size` that rehearse, at least one a step where a share does."""
    count = max(1, round(share * size * turns)) if share else 0
    return [count * (n + 1) // turns - count * n // turns for n in range(turns)]


def shares(weights: Sequence[float], size: int, times: int = 1, less: int = 0) -> list[int]:
    """Places of each task in `times` batches of `size`, but for `less` of them, by largest remainder; a task with
    weight keeps at least one."""
    total = sum(weights)
    if total <= 0 or min(weights) < 0:
        raise ConfigError(f"task weights {list(weights)}: give at least one above 0 and none below.")
    size, each = size * times - less, size
    exact = [size * weight / total for weight in weights]
    found = [int(value) for value in exact]
    for n in sorted(range(len(exact)), key=lambda n: found[n] - exact[n])[: size - sum(found)]:
        found[n] += 1
    if any(weight > 0 and not count for weight, count in zip(weights, found, strict=True)):
        more = f" in {times} batches a step" if times > 1 else ""
        more += f", of which {less} rehearse," if less else ""
        raise ConfigError(f"train.batch_size={each}{more} has no place for each of {len(weights)} tasks: raise it.")
    return found
