"""Batches do not depend on what a dataset keeps in memory, and what it keeps is not decoded again."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch

import pairalign.data.reader
from conftest import TinyVector, vector_pairs
from pairalign.align.dataset import DatasetSource, PairBatch, PairDataset, SideSource
from pairalign.core.encoder import Encoder
from pairalign.core.errors import DataError
from pairalign.data.held import TENSOR
from pairalign.data.pack import pack_pairs

EDGE = ("a", "b")


class RandomView(TinyVector):
    """Draws its training views from the stored value itself."""

    def view(self, raw: object, generator: torch.Generator) -> torch.Tensor:
        return self.preprocess(raw) + torch.rand((), generator=generator)


def batches(folder: Path, encoder: Encoder, memory: int, count: int = 18) -> list[PairBatch]:
    """The first batches, 6 an epoch."""
    sides = {end: SideSource(end, encoder, memory=memory) for end in EDGE}
    return list(
        itertools.islice(PairDataset([DatasetSource(str(folder / "a-b"), "train", sides)], [EDGE], 16, seed=4), count)
    )


@pytest.mark.parametrize("memory", [20_000, 10**6], ids=["a few", "all"])
@pytest.mark.parametrize("encoder", [TinyVector, RandomView])
def test_memory_changes_no_batch(pair_folder: Path, encoder: type[Encoder], memory: int) -> None:
    plain, kept = (batches(pair_folder, encoder(), size) for size in (0, memory))
    for one, other in zip(plain, kept, strict=True):
        assert one.keys == other.keys
        assert one.a.value.equal(other.a.value)
        assert one.b.value.equal(other.b.value)


@pytest.mark.parametrize(
    ("encoder", "memory", "passes"), [(TinyVector, 10**6, 1), (TinyVector, 0, 3), (RandomView, 10**6, 3)]
)
def test_a_kept_sample_is_decoded_once(
    pair_folder: Path, monkeypatch: pytest.MonkeyPatch, encoder: type[Encoder], memory: int, passes: int
) -> None:
    decoded = []
    decode = pairalign.data.reader.decode
    monkeypatch.setattr("pairalign.data.reader.decode", lambda *of: decoded.append(of) or decode(*of))
    batches(pair_folder, encoder(), memory)
    assert len(decoded) == passes * 2 * 96


def test_what_is_kept_of_tiny_samples_counts_with_its_objects(pair_folder: Path) -> None:
    side = SideSource("a", TinyVector(), memory=20_000)
    sides = {"a": side, "b": SideSource("b", TinyVector())}
    dataset = PairDataset([DatasetSource(pair_folder / "a-b", "train", sides)], [EDGE], 16)
    list(itertools.islice(dataset, 18))
    assert 10 <= len(side.kept) <= 20_000 // (TENSOR + 24)  # of 96; their numbers alone are 24 bytes each


def test_shards_that_are_packed_anew_meanwhile_end_the_run(pair_folder: Path) -> None:
    sides = {end: SideSource(end, TinyVector()) for end in EDGE}
    dataset = iter(PairDataset([DatasetSource(str(pair_folder / "a-b"), "train", sides)], [EDGE], 16, seed=4))
    next(dataset)
    rows = [*vector_pairs(96, EDGE, seed=9), *vector_pairs(32, EDGE, split="val")]
    pack_pairs(rows, pair_folder / "a-b", shard_samples=40, progress=False, overwrite=True)
    with pytest.raises(DataError, match="was packed anew while the run was reading it"):
        list(itertools.islice(dataset, 12))
