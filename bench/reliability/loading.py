"""The datasets of both stages over tiny samples, as training reads them: shards, shuffling, views, collating, workers.

Some samples are damaged on purpose, since an error that is caught may hold what it came through.

Note:
    The web server is a process of its own, so that its memory is nobody's here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from pairalign.align.dataset import DatasetSource, PairDataset, SideSource
from pairalign.core.encoder import Encoder
from pairalign.core.registry import create_encoder
from pairalign.core.types import Features, Signal
from pairalign.data.index import load_index
from pairalign.data.loading import BatchLoader
from pairalign.data.pack import pack_pairs
from pairalign.data.place import ShardPlace, find_place
from pairalign.demo.lessons import pack_lessons
from pairalign.finetune.collator import Collator
from pairalign.finetune.config import TaskConfig
from pairalign.finetune.sampling import TaskDataset
from pairalign.finetune.tasks import Task
from reliability.gauge import Watch

PAIRS, SHARD, BATCH = 2000, 250, 64
DAMAGED = 400  # every so manieth sample


class Force(Encoder):
    """Six numbers in newton, with views."""

    def __init__(self) -> None:
        super().__init__(8)
        self.signal = Signal("vector", (6,), unit="N")
        self.net = nn.Linear(6, 8)

    def augment(self, value: Tensor, generator: torch.Generator) -> Tensor:
        """A little noise."""
        return value + 0.01 * torch.randn(value.shape, generator=generator)

    def forward(self, batch: Tensor) -> Features:
        """One token."""
        pooled = self.net(batch)
        return Features(pooled[:, None], pooled)


def pack(folder: Path, seed: int) -> Path:
    """Pairs of forces and gel images of 16 × 16; one force in `DAMAGED` has a number too many."""
    draw = np.random.default_rng(seed)

    def rows() -> Iterator[dict[str, Any]]:
        for n in range(PAIRS):
            gel = Image.fromarray(draw.integers(0, 255, (16, 16, 3), dtype=np.uint8))
            yield {"key": f"{n:06d}", "force": draw.normal(size=7 - bool(n % DAMAGED)).astype("f4"), "touch": gel}

    pack_pairs(rows(), folder, split="train", units={"force": {"unit": "N"}}, shard_samples=SHARD, progress=False)
    return folder


def dataset_of(places: list[ShardPlace], seed: int) -> PairDataset:
    """One dataset over all of them."""
    encoders = {"force": Force(), "touch": create_encoder("touch_cnn", size=16, channels=4, width=8)}
    sources = [
        DatasetSource(
            place, "train", {end: SideSource(end, one, memory=1 << 18) for end, one in encoders.items()}, str(n)
        )
        for n, place in enumerate(places)
    ]
    return PairDataset(sources, [("force", "touch")], BATCH, seed=seed, shuffle=500)


def stage_one(work: Path, total: int, seed: int, workers: int) -> dict[str, Any]:
    """Training batches of two data sets in one pool."""
    places: list[ShardPlace] = [pack(work / str(n), seed + n) for n in range(2)]
    return _drained(lambda: BatchLoader(dataset_of(places, seed), workers), total)


def remote(work: Path, total: int, seed: int) -> dict[str, Any]:
    """Training batches from a web server, through a cache that holds a third of the shards."""
    folder = pack(work / "served", seed)
    size = sum(shard.bytes for shard in load_index(folder).split("train").shards)
    os.environ |= {"PAIRALIGN_CACHE": str(work / "cache"), "PAIRALIGN_CACHE_GB": str(size / 3 / 2**30)}
    with serving(folder) as url:
        place = find_place(url)
        return _drained(lambda: BatchLoader(dataset_of([place], seed), 0), total)


def stage_two(work: Path, total: int, seed: int, workers: int) -> dict[str, Any]:
    """Batches of questions about touches, read anew each time, and about words, kept in memory."""
    from sensing import speaking

    _, processor = speaking()
    tasks = []
    for name, prompt in (("touch", "{touch} {question}"), ("words", "{question}")):
        pack_lessons(work, name, {"train": 400}, seed)
        told = TaskConfig(shards=name, prompt=prompt, answer="{answer}")
        tasks.append(Task(name, told, work, list(processor.sensors)))
        tasks[-1].check_signals(processor.sensors)
    tasks[1].keep(processor, 1.0)
    dataset = TaskDataset(tasks, Collator(processor), 16, seed)
    return _drained(lambda: BatchLoader(dataset, workers), total)


def _drained(make: Callable[[], BatchLoader[Any]], total: int) -> dict[str, Any]:
    """`total` samples out of a loader that is made, watched, and let go; another is before, for what a process makes
    once, such as a library's threads."""
    torch.set_num_threads(1)
    for _ in zip(range(PAIRS // BATCH), make(), strict=False):
        pass
    watch, done = Watch(total), 0
    with tqdm(total=total, unit="sample", leave=False, mininterval=5) as bar:
        for batch in make():
            done += len(batch.keys)
            bar.update(len(batch.keys))
            watch(done)
            if done >= total:
                break
    del batch  # of worker processes, each tensor holds a descriptor
    return watch.finish()


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of a web server of a folder, in a process of its own."""
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert server.stdout is not None
    try:
        port = server.stdout.readline().split(" port ")[1].split()[0]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
