"""Places of tasks in a batch, and the order in which their examples come."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
from stage_two import PAIRS, TOUCH

from pairalign.core.errors import ConfigError
from pairalign.data.loading import BatchLoader
from pairalign.finetune.config import TaskConfig
from pairalign.finetune.sampling import TaskFeed, shares
from pairalign.finetune.tasks import Example, Task


class Keys:
    """Stands where a `Collator` does, and gives keys alone."""

    def __call__(self, examples: list[Example]) -> list[str]:
        return [example.key for example in examples]


def feed(setup: Path, start: int = 0, rank: int = 0, world: int = 1, weight: float = 1.0, size: int = 6) -> TaskFeed:
    tasks = [
        Task("touch", TaskConfig(**TOUCH), setup, ["touch"]),
        Task("pairs", TaskConfig(**{**PAIRS, "weight": weight}), setup, ["touch"]),
    ]
    made = TaskFeed(tasks, Keys(), size, 0, rank, world)  # type: ignore[arg-type]
    made.start = start
    return made


@pytest.mark.parametrize(
    ("weights", "size", "expected"),
    [([1, 1], 6, [3, 3]), ([2, 1], 6, [4, 2]), ([1, 1, 1], 4, [2, 1, 1]), ([1, 0], 3, [3, 0])],
)
def test_shares_are_by_largest_remainder(weights: list[float], size: int, expected: list[int]) -> None:
    assert shares(weights, size) == expected


def test_shares_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"batch_size=1 has no place for each of 2 tasks"):
        shares([1, 1], 1)
    with pytest.raises(ConfigError, match=r"at least one above 0"):
        shares([0, 0], 4)


def test_a_pass_holds_every_example_once_and_the_next_has_another_order(setup: Path) -> None:
    seen = [key for keys in islice(feed(setup), 32) for key in keys[:3]]
    assert len(set(seen[:48])) == 48
    assert set(seen[48:96]) == set(seen[:48])
    assert seen[48:96] != seen[:48]


def test_starting_later_goes_on_where_the_first_would_be(setup: Path) -> None:
    whole = list(islice(feed(setup), 40))
    assert list(islice(feed(setup, start=17), 23)) == whole[17:]


def test_processes_share_a_pass(setup: Path) -> None:
    one, other = ([key for keys in islice(feed(setup, rank=r, world=2), 8) for key in keys[:3]] for r in (0, 1))
    assert len(set(one)) == len(set(other)) == 24
    assert not set(one) & set(other)


@pytest.mark.parametrize("start", [0, 3])
def test_workers_and_processes_change_no_batch(setup: Path, start: int) -> None:
    whole = list(islice(feed(setup, size=8), 20))
    assert list(islice(BatchLoader(feed(setup, start=start, size=8), 2), 20 - start)) == whole[start:]
    halves = [list(islice(feed(setup, size=4, rank=r, world=2), 20)) for r in (0, 1)]
    for batch, one, other in zip(whole, *halves, strict=True):
        assert sorted(batch) == sorted(one + other)


def test_kept_examples_come_in_the_same_order(setup: Path) -> None:
    streamed, kept = feed(setup), feed(setup)
    for task in kept.tasks:
        task.kept = list(task.read())
    assert list(islice(streamed, 20)) == list(islice(kept, 20))


@pytest.mark.parametrize("world", [1, 2])
def test_a_limit_trains_on_the_first_samples_alone(setup: Path, world: int) -> None:
    task = Task("touch", TaskConfig(**{**TOUCH, "limit": 5}), setup, ["touch"])
    first = [example.key for example in task.read()]
    assert len(first) == 5
    passes = [[e.key for e in islice(task.shuffled(0, 0, rank, world), 5 * world)] for rank in range(world)]
    assert {key for keys in passes for key in keys} == set(first)
