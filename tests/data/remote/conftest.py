"""A small pack, its own cache, and no long waits between attempts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pairalign.data.pack import pack_pairs


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine shards of vectors and texts, some samples damaged on purpose by no decoder."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("remote") / "pairs"
    rows = [
        {"key": f"k{i:03d}", "a": rng.normal(size=32).astype(np.float32), "b": f"text {i}", "label": f"c{i % 3}"}
        for i in range(100)
    ]
    pack_pairs(rows, folder, split="train", shard_samples=12, progress=False)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder of this test."""
    monkeypatch.setenv("PAIRALIGN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("pairalign.data.remote.transfer.WAITS", (0.01,) * 4)
    monkeypatch.setattr("pairalign.data.remote.fetched._INDEXES", {})
    return tmp_path / "cache"
