"""One pass over shards: rows in order, values fetched again by row, limits and splits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairalign.data.audit import audit_pairs
from pairalign.data.audit.survey import Column, take_survey


def test_values_come_back_by_row_from_every_shard(pack: Callable[..., Path], series_rows: list[dict[str, Any]]) -> None:
    taken = take_survey(pack(series_rows, shard_samples=7), progress=False)
    assert taken.splits == ("train", "test")
    stored = {row["key"]: row["imu"] for row in series_rows}
    for split in (0, 1):
        rows = np.random.default_rng(0).permutation(taken.rows_of(split))
        for row, value in zip(rows, taken.fetch(rows, "imu"), strict=True):
            np.testing.assert_array_equal(value, stored[taken.keys[row]])
    assert taken.meta["session"] == [{r["key"]: r["session"] for r in series_rows}[key] for key in taken.keys]


def test_a_limit_takes_the_first_of_each_split(pack: Callable[..., Path], series_rows: list[dict[str, Any]]) -> None:
    folder = pack(series_rows)
    found = audit_pairs(folder, checks=["blank"], limit=10, progress=False)
    assert found.counts == {"train": 10, "test": 10}
    taken = take_survey(folder, limit=10, progress=False)
    assert taken.names(taken.rows_of(1)) == tuple(row["key"] for row in series_rows if row["split"] == "test")[:10]


@pytest.mark.parametrize("splits", [["test", "train"], ["train", "train", "test"]])
def test_training_comes_first_and_each_split_once(
    splits: list[str], pack: Callable[..., Path], series_rows: list[dict[str, Any]]
) -> None:
    series_rows[3]["imu"] = series_rows[0]["imu"]
    found = audit_pairs(pack(series_rows), splits=splits, checks=["duplicates"], progress=False)
    assert found.counts == {"train": 45, "test": 15}
    assert [finding.keys for finding in found.findings] == [("s03",)]


def test_sketches_of_other_lengths_are_cut_or_filled() -> None:
    column = Column("x", None, np.zeros(3, np.int64), np.zeros(3, "U6"))
    for row, length in enumerate((4, 6, 2)):
        column.put(row, row, 3, {"look": np.ones(length, np.float32)})
    assert column.arrays["look"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0]]
