"""Two tiny sensors over vectors, and pairs of them that share a factor, for tests of training and measuring."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two test processes on two cores: more threads wait for each other
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["PAIRALIGN_TRUST"] = os.path.join(tempfile.mkdtemp(prefix="pairalign-trust-"), "trusted")

import numpy as np
import pytest
import torch
from hypothesis import settings
from torch import Tensor, nn

from pairalign.core import registry
from pairalign.core.encoder import Encoder
from pairalign.core.types import Features, Signal

settings.register_profile("patient", deadline=None)  # a machine that others use is slow, and no test is of that
settings.load_profile("patient")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have to say beside that they passed: `record_property("said", …)`, from any process."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "said":
                terminalreporter.write_line(str(value))


class TinyVector(Encoder):
    """An MLP over a vector of `size` numbers."""

    def __init__(self, size: int = 6, width: int = 16) -> None:
        super().__init__(width)
        self.signal = Signal("vector", (size,), unit="N")
        self.net = nn.Sequential(nn.Linear(size, 32), nn.GELU(), nn.Linear(32, width))

    def augment(self, value: Tensor, generator: torch.Generator) -> Tensor:
        return value + 0.01 * torch.randn(value.shape, generator=generator)

    def forward(self, batch: Tensor) -> Features:
        pooled = self.net(batch)
        return Features(pooled[:, None], pooled)


@pytest.fixture(autouse=True)
def tiny_vector() -> Iterator[str]:
    """The registered name of `TinyVector`; whatever a test registers is forgotten after it."""
    before = dict(registry._registered)
    registry._registered["tiny_vector"] = TinyVector
    yield "tiny_vector"
    registry._registered.clear()
    registry._registered.update(before)


def heed_ctrl_c() -> None:
    """`preexec_fn` of a process that a test interrupts: what a shell starts in the background ignores SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def vector_pairs(count: int, edge: tuple[str, str], seed: int = 0, split: str = "train") -> Iterator[dict[str, Any]]:
    """Pairs of vectors that share three numbers; each side adds three of its own."""
    rng = np.random.default_rng([seed, len(split), *map(ord, "".join(edge))])
    for i in range(count):
        shared = rng.normal(size=3)
        sides = {end: np.concatenate([shared, rng.normal(size=3)]).astype(np.float32) for end in edge}
        yield {"key": f"{split}-{i:05d}", **sides, "split": split, "label": {"sign": int(shared[0] > 0)}}


def recorded_as(folder: Path, copy: Path, modality: str, **facts: Any) -> Path:
    """A copy of a shard folder whose index records something else of one modality, such as `unit="kPa"`."""
    shutil.copytree(folder, copy)
    index = json.loads((copy / "index.json").read_text())
    index["modalities"][modality] |= facts
    (copy / "index.json").write_text(json.dumps(index))
    return copy


@pytest.fixture(scope="session")
def packed_pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of 96 training and 32 validation pairs for a–b and b–c, packed once: nobody writes here."""
    from pairalign.data.pack import pack_pairs

    folder = tmp_path_factory.mktemp("packed")
    for edge in (("a", "b"), ("b", "c")):
        units = {end: {"unit": "N"} for end in edge}
        rows = [*vector_pairs(96, edge), *vector_pairs(32, edge, split="val")]
        pack_pairs(rows, folder / "-".join(edge), units=units, shard_samples=40, progress=False)
    return folder


@pytest.fixture
def pair_folder(packed_pairs: Path, tmp_path: Path) -> Path:
    """A copy of `packed_pairs` of the test's own."""
    return Path(shutil.copytree(packed_pairs, tmp_path / "shards"))


@pytest.fixture
def align_settings(pair_folder: Path, tmp_path: Path) -> dict[str, Any]:
    """A configuration, as a mapping, of a small run over a–b and b–c."""
    return small_alignment(pair_folder, tmp_path / "run")


def small_alignment(pairs: Path, out: Path) -> dict[str, Any]:
    """What `align_settings` are, for fixtures that live longer than a test."""
    return {
        "modalities": {end: {"encoder": "tiny_vector"} for end in "abc"},
        "edges": [{"between": ["a", "b"], "shards": "a-b"}, {"between": ["b", "c"], "shards": "b-c"}],
        "out": str(out),
        "latent": {"shared": 8, "private": 4, "hidden": 32},
        "train": {"steps": 12, "batch_size": 16, "warmup": 2, "checkpoint_every": 4, "accelerator": "cpu"}
        | {"keep_checkpoint": True},
        "data": {"root": str(pairs), "shuffle": 50},
    }


@pytest.fixture(scope="session")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny stage two, once for all processes of a test run."""
    from stage_two import make_setup

    base = tmp_path_factory.getbasetemp()  # of each process its own; one alone keeps nothing for the next run
    return make_setup((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "stage_two")
