"""Places of tasks in a batch, and the order in which their examples come."""

from __future__ import annotations

import shutil
from itertools import islice
from pathlib import Path

import pytest
import torch
from stage_two import PAIRS, TOUCH, short_run

from pairalign.core.errors import ConfigError, DataError, SignalError
from pairalign.data.loading import BatchLoader
from pairalign.data.tar import Entry, scan
from pairalign.finetune.config import TaskConfig
from pairalign.finetune.sampling import TaskDataset, shares
from pairalign.finetune.tasks import Example, Task


class Keys:
    """Stands where a `Collator` does, and gives keys alone."""

    def __call__(self, examples: list[Example]) -> list[str]:
        return [example.key for example in examples]


def dataset(
    setup: Path, start: int = 0, rank: int = 0, world: int = 1, weight: float = 1.0, size: int = 6
) -> TaskDataset:
    tasks = [
        Task("touch", TaskConfig(**TOUCH), setup, ["touch"]),
        Task("pairs", TaskConfig(**{**PAIRS, "weight": weight}), setup, ["touch"]),
    ]
    made = TaskDataset(tasks, Keys(), size, 0, rank, world)  # type: ignore[arg-type]
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
    seen = [key for keys in islice(dataset(setup), 32) for key in keys[:3]]
    assert len(set(seen[:48])) == 48
    assert set(seen[48:96]) == set(seen[:48])
    assert seen[48:96] != seen[:48]


def test_starting_later_goes_on_where_the_first_would_be(setup: Path) -> None:
    whole = list(islice(dataset(setup), 40))
    assert list(islice(dataset(setup, start=17), 23)) == whole[17:]


def test_processes_share_a_pass(setup: Path) -> None:
    one, other = ([key for keys in islice(dataset(setup, rank=r, world=2), 8) for key in keys[:3]] for r in (0, 1))
    assert len(set(one)) == len(set(other)) == 24
    assert not set(one) & set(other)


@pytest.mark.parametrize("start", [0, 3])
def test_workers_and_processes_change_no_batch(setup: Path, start: int) -> None:
    whole = list(islice(dataset(setup, size=8), 20))
    assert list(islice(BatchLoader(dataset(setup, start=start, size=8), 2), 20 - start)) == whole[start:]
    halves = [list(islice(dataset(setup, size=4, rank=r, world=2), 20)) for r in (0, 1)]
    for batch, one, other in zip(whole, *halves, strict=True):
        assert sorted(batch) == sorted(one + other)


def test_kept_examples_come_in_the_same_order(setup: Path) -> None:
    streamed, kept = dataset(setup), dataset(setup)
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


class Reader(Keys):
    """Gives keys, too, and cannot read one of the samples."""

    def __init__(self, broken: str) -> None:
        self.broken = broken

    def __call__(self, examples: list[Example]) -> list[str]:
        keys = super().__call__(examples)
        if self.broken in keys:
            raise SignalError("no such shape")
        return keys


def spoil(setup: Path, shards: str, key: str) -> None:
    """Cut a sample's text in the middle of a character, on disk."""
    (tar,) = (setup / "lessons" / shards).glob("train-*.tar")
    data = bytearray(tar.read_bytes())
    (entry,) = (entry for entry in scan_file(tar) if entry.key == key)
    offset, _ = entry.fields["answer.txt"]
    data[offset] = 0xFF
    tar.write_bytes(data)


def scan_file(tar: Path) -> list[Entry]:
    with tar.open("rb") as stream:
        return scan(stream.fileno(), tar.name)


@pytest.fixture
def spoilt(setup: Path, tmp_path: Path) -> tuple[Path, str]:
    """A copy of the shards with one damaged sample, and its key."""
    for name in ("touch", "touch_pairs"):
        shutil.copytree(setup / "lessons" / name, tmp_path / "lessons" / name)
    key = next(keys[0] for keys in islice(dataset(setup), 3, None))
    spoil(tmp_path, "touch", key)
    return tmp_path, key


@pytest.mark.parametrize("start", [0, 2, 5])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_sample_leaves_its_place_empty(
    setup: Path, spoilt: tuple[Path, str], start: int, workers: int, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, key = spoilt
    whole = [[k for k in keys if k != key] for keys in islice(dataset(setup), 40)]
    made = dataset(folder, start=start)
    with pytest.raises(DataError, match=key):
        list(islice(dataset(folder), 40))
    for task in made.tasks:
        task.tolerate(0.02)
    found = BatchLoader(made, workers) if workers else made
    assert list(islice(found, 40 - start)) == whole[start:]
    assert f"damaged sample left out: touch {key}: " in capfd.readouterr().err


def test_too_many_damaged_samples_end_the_run(spoilt: tuple[Path, str]) -> None:
    folder, _ = spoilt
    made = dataset(folder)
    made.tasks[0].tolerate(0.001)
    with pytest.raises(
        DataError, match=r"task 'touch': 1 of 48 samples are damaged, more than train\.bad_fraction=0\.001"
    ):
        list(islice(made, 40))


def test_a_sample_that_no_sensor_reads_is_damaged_too(setup: Path) -> None:
    whole = list(islice(dataset(setup), 20))
    made = dataset(setup)
    made.collate = Reader(whole[2][1])  # type: ignore[assignment]
    for task in made.tasks:
        task.tolerate(0.02)
    assert list(islice(made, 20)) == [[k for k in keys if k != whole[2][1]] for keys in whole]
    made.tasks[0].tolerate(0)
    with pytest.raises(DataError, match="no such shape"):
        list(islice(made, 20))


def test_a_run_names_what_it_left_out(setup: Path, spoilt: tuple[Path, str], capfd: pytest.CaptureFixture[str]) -> None:
    folder, key = spoilt
    tasks = {"touch": {**TOUCH, "shards": str(folder / "lessons" / "touch")}}
    weights = []
    for memory in (2.0, 0.0):  # read once into memory, and anew for each batch
        train = {"steps": 12, "batch_size": 4, "accelerator": "cpu", "bad_fraction": 0.02, "memory": memory}
        run = short_run(setup, folder / f"run{memory}", tasks=tasks, method="bridge", validation={}, train=train)
        assert f"damaged sample left out: touch {key}: " in capfd.readouterr().err
        weights.append(run.model.state_dict())
    for name, expected in weights[0].items():
        torch.testing.assert_close(weights[1][name], expected, atol=1e-5, rtol=1e-5)
