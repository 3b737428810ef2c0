"""A folder with three modalities under several edges: each modality of each sample is encoded and read once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import TinyVector
from pairalign.align.model import build_aligner
from pairalign.align.run import align_pairs, build_datasets
from pairalign.align.sources import pools_of
from pairalign.core import registry
from pairalign.core.config import AlignConfig, load_config
from pairalign.core.types import Features
from pairalign.data.pack import pack_pairs
from pairalign.evaluate.run import evaluate_run

TRAIN, VAL = 48, 20
preprocessed: Counter[bytes] = Counter()
encoded: Counter[bytes] = Counter()


class Counting(TinyVector):
    """Counts how often it sees each sample."""

    def preprocess(self, raw: Any) -> torch.Tensor:
        value = super().preprocess(raw)
        preprocessed[value.numpy().tobytes()] += 1
        return value

    def forward(self, batch: torch.Tensor) -> Features:
        encoded.update(row.numpy().tobytes() for row in batch.detach())
        return super().forward(batch)


@pytest.fixture
def triplets(align_settings: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """Three edges over one folder; b is frozen."""
    rng = np.random.default_rng(3)
    rows = []
    for split, count in (("train", TRAIN), ("val", VAL)):
        for i in range(count):
            sides = {m: rng.normal(size=6).astype("float32") for m in "abc"}
            rows.append({"key": f"{split}-{i:03d}", **sides, "split": split, "label": {"odd": i % 2}})
    pack_pairs(rows, tmp_path / "abc", modalities=list("abc"), progress=False)
    registry._registered["counting"] = Counting
    align_settings["modalities"] = {m: {"encoder": "counting"} for m in "abc"}
    align_settings["modalities"]["b"]["tune"] = "none"
    ends = (["a", "b"], ["b", "c"], ["a", "c"])
    align_settings["edges"] = [{"between": list(edge), "shards": "abc"} for edge in ends]
    align_settings["data"] |= {"root": str(tmp_path), "augment": False}
    preprocessed.clear()
    encoded.clear()
    return align_settings


def test_a_frozen_anchor_is_encoded_once_for_all_its_edges(triplets: dict[str, Any]) -> None:
    config = load_config(AlignConfig, triplets)
    build_datasets(config, build_aligner(config), progress=False)
    assert set(encoded.values()) == {1}
    assert len(encoded) == TRAIN + VAL
    assert set(preprocessed.values()) == {1}


def test_what_trains_is_preprocessed_once_for_all_its_edges(triplets: dict[str, Any]) -> None:
    align_pairs(load_config(AlignConfig, triplets, ["train.steps=9"]), progress=False)
    assert set(preprocessed.values()) == {1}
    assert len(preprocessed) == 3 * (TRAIN + VAL)


def test_sharing_changes_no_weight(triplets: dict[str, Any], tmp_path: Path) -> None:
    """But for the order in which gradients are added."""
    (tmp_path / "again").symlink_to(tmp_path / "abc")
    (tmp_path / "copy").mkdir()
    for file in (tmp_path / "abc").iterdir():
        (tmp_path / "copy" / file.name).write_bytes(file.read_bytes())
    weights = []
    for folder, out in (("again", "one"), ("copy", "two")):
        triplets["edges"][2]["shards"] = folder
        triplets["out"] = str(tmp_path / out)
        weights.append(align_pairs(load_config(AlignConfig, triplets), progress=False).aligner.state_dict())
    torch.testing.assert_close(*weights, rtol=1e-3, atol=1e-5)


def test_a_pool_is_encoded_once_for_all_its_pairs(triplets: dict[str, Any], tmp_path: Path) -> None:
    run = align_pairs(load_config(AlignConfig, triplets, ["train.steps=1"]), progress=False)
    encoded.clear()
    preprocessed.clear()
    pairs = tmp_path / "abc"
    found = evaluate_run(run, [pairs, pairs], split=["val", "train", "val"], progress=False)
    assert set(found.metrics["pools"]) == {"abc/val", "abc/train"}
    assert set(encoded.values()) == set(preprocessed.values()) == {1}
    assert len(encoded) == 3 * (TRAIN + VAL)


def test_two_folders_of_one_name_are_both_measured(triplets: dict[str, Any], tmp_path: Path) -> None:
    run = align_pairs(load_config(AlignConfig, triplets, ["train.steps=1"]), progress=False)
    other = tmp_path / "elsewhere" / "abc"
    rows = [{"a": np.arange(6.0) - i, "b": np.arange(6.0) + i, "split": "val"} for i in range(9)]
    pack_pairs(rows, other, modalities=["a", "b"], progress=False)
    found = evaluate_run(run, [tmp_path / "abc", other], split="val", progress=False)
    assert {name: pool["n"] for name, pool in found.metrics["pools"].items()} == {
        f"{tmp_path / 'abc'}/val": VAL,
        f"{other}/val": 9,
        "pooled/val": VAL + 9,
    }


@pytest.mark.parametrize("workers", [0, 2])
def test_a_step_decodes_and_encodes_every_modality_once(
    triplets: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """Also where two data sets are drawn from together. c is in two edges, a in two, b is cached."""
    rows = [{m: np.random.default_rng([n, ord(m)]).normal(size=6).astype("f4") for m in "abc"} for n in range(20)]
    pack_pairs(rows, tmp_path / "more", modalities=list("abc"), split="train", progress=False)
    for edge in triplets["edges"]:
        edge["shards"] = ["abc", "more"]
    triplets["train"] |= {"steps": 3, "validate_every": 0}
    triplets["data"] |= {"val_split": None, "workers": workers, "memory": 0}
    config = load_config(AlignConfig, triplets)
    assert [pool.name for pool in pools_of(config)] == ["a-b+b-c+a-c"]
    seen = []
    forward = Counting.forward
    monkeypatch.setattr(Counting, "forward", lambda self, batch: seen.append(len(batch)) or forward(self, batch))
    align_pairs(config, progress=False)
    assert seen[-6:] == [16] * 6  # three steps of a and c; b's anchors before
