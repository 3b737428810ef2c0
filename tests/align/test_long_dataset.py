"""Thousands of samples over many epochs: as many descriptors and objects in the last as in the second."""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from holding import children, descriptors, objects, only_newer, threads
from shard_servers import serving

from conftest import TinyVector, vector_pairs
from pairalign.align.dataset import DatasetSource, PairDataset, SideSource
from pairalign.data.loading import BatchLoader
from pairalign.data.pack import pack_pairs
from pairalign.data.place import ShardPlace, find_place

EDGE, BATCH, EPOCH = ("a", "b"), 16, 6  # batches of an epoch
FEW = 30  # objects that interpreters and libraries may make on the way; a leak makes one a sample


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """96 pairs, one of which is damaged: its vector has a number too many."""
    rows = list(vector_pairs(96, EDGE))
    rows[40]["a"] = np.arange(7, dtype=np.float32)
    folder = tmp_path_factory.mktemp("pairs")
    pack_pairs(rows, folder, units={end: {"unit": "N"} for end in EDGE}, shard_samples=12, progress=False)
    return folder


def dataset(place: ShardPlace) -> PairDataset:
    sides = {end: SideSource(end, TinyVector(), memory=20_000) for end in EDGE}
    return PairDataset([DatasetSource(place, "train", sides)], [EDGE], BATCH, shuffle=50)


@pytest.fixture(autouse=True)
def _quick() -> Iterator[None]:
    with only_newer():
        yield


def grown(place: ShardPlace, epochs: int) -> tuple[Counter[str], int]:
    """Objects by type, and descriptors at most, more after all epochs than after the first three."""
    then, opened = Counter[str](), [0, 0]
    for number, batch in enumerate(dataset(place)):
        opened[number >= 3 * EPOCH] = max(opened[number >= 3 * EPOCH], descriptors())
        if number == 3 * EPOCH:
            then = objects()
        if number == epochs * EPOCH + 3:
            break
        assert len(batch.keys) == BATCH
    return objects() - then, opened[1] - opened[0]


def test_a_dataset_holds_no_more_after_three_thousand_samples(folder: Path) -> None:
    more, opened = grown(folder, epochs=32)
    assert more.total() < FEW, more
    assert opened <= 0


def test_a_dataset_from_a_server_holds_no_more_after_many_epochs(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = sum(path.stat().st_size for path in folder.glob("*.tar"))
    monkeypatch.setenv("PAIRALIGN_CACHE", str(tmp_path))
    monkeypatch.setenv("PAIRALIGN_CACHE_GB", str(size / 3 / 2**30))  # shards are fetched again and again
    with serving(folder) as server:
        more, opened = grown(find_place(server.url), epochs=9)
        fetched = len(server.asked)
    assert fetched > 60
    more.subtract({"builtins.tuple": fetched})  # the server's own record of what it was asked
    timed = ("asyncio.", "_contextvars.")  # a connection's time limit, of which many go at once later
    more = Counter({kind: n for kind, n in more.items() if n > 0 and not kind.startswith(timed)})
    assert more.total() < 3 * FEW, more  # what its threads were at; of 576 samples
    assert opened <= 8  # connections of a server in the same process that are not yet closed


def test_workers_go_with_their_loader(folder: Path) -> None:
    others, held = children(), []
    for _ in range(3):
        running = threads()
        loader = BatchLoader(dataset(folder), 2)
        batches = iter(loader)
        read = [next(batches) for _ in range(8)]
        assert len(children()) == len(others) + 2
        del read, batches, loader
        gc.collect()
        assert children() == others
        deadline = time.monotonic() + 10
        while threads() > running and time.monotonic() < deadline:  # those that fed the workers' queues
            time.sleep(0.02)
        held.append((descriptors(), threads()))
    assert held[2] <= held[0]  # the first starts what a process has once
