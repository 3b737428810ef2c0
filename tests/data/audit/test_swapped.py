"""Columns exchanged altogether, in whole sessions, or for a value of another kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairalign.data.audit import audit_pairs


@pytest.fixture
def pair_rows() -> list[dict[str, Any]]:
    """40 pairs of a contrasty grey photo and an evenly lit gel with coloured slopes."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1:1:24j, -1:1:24j]
    rows = []
    for number in range(40):
        grey = np.kron(rng.normal(128, 60, (4, 4, 1)), np.ones((6, 6, 1))) * rng.uniform(0.8, 1.2, 3)
        slopes = 200 * np.stack([x, y, -x - y], -1) * np.exp(-(x**2 + y**2) / 0.1)[..., None] * rng.uniform(0.5, 1)
        rows.append(
            {
                "key": f"s{number:02d}",
                "image": grey.clip(0, 255).astype(np.uint8),
                "touch": (130 + slopes + rng.normal(0, 2, (24, 24, 3))).clip(0, 255).astype(np.uint8),
                "session": f"day{number // 10}",
            }
        )
    return rows


def exchange(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        row["image"], row["touch"] = row["touch"], row["image"]


def test_columns_exchanged_altogether(pack: Callable[..., Path], pair_rows: list[dict[str, Any]]) -> None:
    found = audit_pairs(pack(pair_rows), checks=["swapped"], progress=False)
    assert found.findings == ()
    assert found.measures["swapped"]["image, touch"]["told apart"] is True
    exchange(pair_rows)
    (finding,) = audit_pairs(pack(pair_rows), checks=["swapped"], progress=False).findings
    assert set(finding.keys) == {row["key"] for row in pair_rows}
    assert "in all of 40 samples" in finding.message


def test_columns_of_one_session_exchanged(pack: Callable[..., Path], pair_rows: list[dict[str, Any]]) -> None:
    exchange(pair_rows[10:20])
    (finding,) = audit_pairs(pack(pair_rows), checks=["swapped"], progress=False).findings
    assert set(finding.keys) == {row["key"] for row in pair_rows[10:20]}
    assert "(all of session day1)" in finding.message


def test_names_without_touch_decide_nothing(pack: Callable[..., Path], pair_rows: list[dict[str, Any]]) -> None:
    """Which way round is right follows from the majority alone."""
    rows = [{"key": row["key"], "left": row["touch"], "right": row["image"]} for row in pair_rows]
    assert audit_pairs(pack(rows), checks=["swapped"], progress=False).findings == ()


def test_a_value_of_another_kind(pack: Callable[..., Path], pair_rows: list[dict[str, Any]]) -> None:
    pair_rows[6]["touch"] = np.arange(5.0)
    (finding,) = audit_pairs(pack(pair_rows), checks=["swapped"], progress=False).findings
    assert finding.keys == ("s06",)
    assert "vector" in finding.message
