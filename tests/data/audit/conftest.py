"""Small packed folders for the tests of single checks: vectors and series, which cost no drawing and no decoding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairalign.data.audit import Audit, audit_pairs
from pairalign.data.pack import pack_pairs

Rows = list[dict[str, Any]]


@pytest.fixture
def series_rows() -> Rows:
    """60 pairs of a three-axis recording of 200 steps with a text; every fourth is a test row, nothing is wrong."""
    rng, time = np.random.default_rng(0), np.arange(200) / 200
    rows = []
    for number in range(60):
        rates, phases = rng.uniform(1, 12, (3, 1, 4)), rng.uniform(0, 6, (3, 1, 4))
        waves = np.sin(2 * np.pi * rates * time[:, None] + phases).sum(-1) + 0.1 * rng.normal(size=(3, 200))
        split = "test" if number % 4 == 3 else "train"
        row = {"key": f"s{number:02d}", "imu": waves.astype(np.float32), "text": f"move {number}", "split": split}
        rows.append({**row, "label": "abc"[rng.integers(3)], "session": f"{split}{number % 12}"})
    return rows


@pytest.fixture
def pack(tmp_path: Path) -> Callable[..., Path]:
    def run(rows: Rows, **options: Any) -> Path:
        folder = tmp_path / "shards"
        pack_pairs(rows, folder, seed=None, overwrite=True, progress=False, **options)
        return folder

    return run


@pytest.fixture
def audit_series(pack: Callable[..., Path]) -> Callable[..., Audit]:
    """Pack rows with an "imu" of 100 Hz and audit them; with no check named, all run."""

    def run(rows: Rows, *checks: str, **options: Any) -> Audit:
        units = {"imu": {"unit": "m/s2", "rate": 100.0, "axes": ("channel", "time")}}
        folder = pack(rows, units=units, allow_constant=["imu"], shard_samples=25)
        return audit_pairs(folder, checks=checks or None, progress=False, **options)

    return run
