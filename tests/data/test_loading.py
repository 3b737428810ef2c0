"""Workers make the batches that one process makes, whoever starts them, and their errors read as its errors."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import IterableDataset

from conftest import TinyVector
from pairalign.align.dataset import DatasetSource, PairBatch, PairDataset, SideSource
from pairalign.core.encoder import Encoder
from pairalign.core.errors import DataError
from pairalign.core.registry import create_encoder, load_plugin
from pairalign.data.loading import BatchLoader

EDGE = ("a", "b")
PLUGIN = Path(__file__).parents[1] / "support" / "plain_vector.py"


def pair_dataset(folder: Path, encoder: Encoder, size: int = 16, **options: Any) -> PairDataset:
    sides = {end: SideSource(end, encoder) for end in EDGE}
    return PairDataset([DatasetSource(str(folder / "a-b"), "train", sides)], [EDGE], size, **options)


def first(batches: Any, count: int) -> list[PairBatch]:
    return list(itertools.islice(batches, count))


@pytest.mark.parametrize("start", [0, 5])
def test_workers_make_the_batches_of_one_process(pair_folder: Path, start: int) -> None:
    """96 samples and batches of 20: batches reach over the ends of epochs."""
    encoder = TinyVector()
    alone = first(pair_dataset(pair_folder, encoder, 20), 14)
    dataset = pair_dataset(pair_folder, encoder, 20, start=start)
    before = first(BatchLoader(pair_dataset(pair_folder, encoder, 20), 2), start)
    dataset.places = {batch.place.worker: batch.place for batch in before}
    for one, other in zip(alone[start:], first(BatchLoader(dataset, 2), 14 - start), strict=True):
        assert one.keys == other.keys
        assert one.a.value.equal(other.a.value)


def test_processes_make_together_the_batches_of_one(pair_folder: Path) -> None:
    encoder = TinyVector()
    alone = first(pair_dataset(pair_folder, encoder, 20), 12)
    shares = [first(pair_dataset(pair_folder, encoder, 10, rank=rank, world_size=2), 12) for rank in range(2)]
    for whole, one, other in zip(alone, *shares, strict=True):
        assert whole.keys == one.keys + other.keys
        assert whole.a.value.equal(torch.cat([one.a.value, other.a.value]))


@pytest.mark.parametrize("world", [1, 2, 3, 20])
@pytest.mark.parametrize("size", [8, 31, 40])
def test_validation_batches_are_the_same_for_any_number_of_processes(pair_folder: Path, size: int, world: int) -> None:
    """32 held-out samples: 31 would leave one alone, which has no negatives; of 20 processes most have no batch."""

    def batches(of: int) -> list[list[str]]:
        held: dict[str, Any] = {"train": False, "world_size": of}
        return sorted(b.keys for r in range(of) for b in PairDataset([source], [EDGE], size, **held, rank=r))

    sides = {end: SideSource(end, TinyVector()) for end in EDGE}
    source = DatasetSource(str(pair_folder / "a-b"), "val", sides)
    assert batches(world) == batches(1)
    assert sum(map(len, batches(world))) == 32


def test_more_workers_than_samples(pair_folder: Path) -> None:
    batches = first(BatchLoader(pair_dataset(pair_folder, TinyVector(), 40), 5), 7)
    assert [b.keys for b in batches] == [b.keys for b in first(pair_dataset(pair_folder, TinyVector(), 40), 7)]


def test_an_error_in_a_worker_reads_as_in_the_main_process(pair_folder: Path) -> None:
    with pytest.raises(DataError) as alone:
        first(pair_dataset(pair_folder, TinyVector(size=7)), 1)
    with pytest.raises(DataError) as worker:
        first(BatchLoader(pair_dataset(pair_folder, TinyVector(size=7)), 2), 1)
    assert str(worker.value) == str(alone.value)
    assert "Traceback" not in str(worker.value)


class Pids(IterableDataset[int]):
    def __iter__(self) -> Any:
        yield os.getpid()
        yield from range(100)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_workers_leave_signals_to_the_main_process(number: int) -> None:
    """The sender is another process, as torchrun is; the main process's own SIGTERM ends a worker."""
    batches = iter(BatchLoader(Pids(), 1))
    pid = next(batches)
    subprocess.run(["kill", f"-{int(number)}", str(pid)], check=True)
    assert list(batches) == list(range(100))


@pytest.mark.parametrize("method", ["spawn", pytest.param("forkserver", marks=pytest.mark.slow)])
def test_a_plugin_is_imported_in_spawned_workers(
    pair_folder: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "__file__", None, raising=False)  # not to run pytest in the worker
    load_plugin(PLUGIN)
    encoder = create_encoder("plain_vector")
    loader = BatchLoader(pair_dataset(pair_folder, encoder), 1, [str(PLUGIN)])
    loader.multiprocessing_context = method
    (batch,) = first(loader, 1)
    assert batch.keys == first(pair_dataset(pair_folder, encoder), 1)[0].keys
    del loader
