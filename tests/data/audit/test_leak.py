"""The trivial probes against plain oracles, and leaks of a session with and without a background."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairalign.data.audit import Audit, audit_pairs
from pairalign.data.audit.leak import RIDGE, name_by_nearest, name_by_ridge, wilson


@pytest.mark.parametrize("size", [5, 90])  # fewer and more dimensions than training rows
def test_the_probes_name_what_their_definitions_say(size: int) -> None:
    rng = np.random.default_rng(0)
    train, test, codes = rng.normal(size=(60, size)), rng.normal(size=(530, size)), rng.integers(4, size=60)
    nearest = [codes[np.argmin([np.linalg.norm(row - other) for other in train])] for row in test]
    np.testing.assert_array_equal(name_by_nearest(train, codes, test), nearest)
    targets = np.eye(4)[codes] - np.eye(4)[codes].mean(0)
    stacked = np.concatenate([train, np.sqrt(RIDGE * 60 * size) * np.eye(size)])  # ridge as plain least squares
    weights = np.linalg.lstsq(stacked, np.concatenate([targets, np.zeros((size, 4))]), rcond=None)[0]
    assert (name_by_ridge(train, codes, test) == (test @ weights).argmax(1)).mean() > 0.99  # float32 ties aside


@pytest.mark.parametrize(("right", "n"), [(0, 20), (7, 44), (44, 44)])
def test_the_interval_holds_the_shares_that_the_count_does_not_contradict(right: int, n: int) -> None:
    low, high = wilson(right, n, 0.95)
    share = np.linspace(0, 1, 200_001)
    held = share[(right / n - share) ** 2 <= 1.959964**2 * share * (1 - share) / n]
    assert (low, high) == (pytest.approx(held.min(), abs=1e-4), pytest.approx(held.max(), abs=1e-4))


@pytest.fixture
def gel_rows() -> list[dict[str, Any]]:
    """Gels with a bump in the middle that names nothing, each label recorded in one session of its own."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1:1:24j, -1:1:24j]
    rows = []
    for number in range(88):
        bump = 60 * np.exp(-((x - rng.normal(0, 0.1)) ** 2 + y**2) / 0.05)[..., None] * rng.normal(size=3)
        picture = (128 + bump + rng.normal(0, 3, (24, 24, 3))).clip(0, 255).astype(np.uint8)
        split = "test" if number % 4 == 3 else "train"
        rows.append({"key": f"s{number:02d}", "touch": picture, "label": "abc"[rng.integers(3)], "split": split})
    return rows


def test_a_border_that_names_the_label(pack: Callable[..., Path], gel_rows: list[dict[str, Any]]) -> None:
    assert audit_pairs(pack(gel_rows), checks=["leak"], progress=False).findings == ()
    for row in gel_rows:  # the lamps were a little brighter in some sessions
        row["touch"] = (row["touch"].astype(int) + 4 * "abc".index(row["label"])).clip(0, 255).astype(np.uint8)
    found = audit_pairs(pack(gel_rows), checks=["leak"], progress=False)
    (finding,) = found.findings
    assert (finding.severity, finding.figures["border"]["n"]) == ("warning", 22)
    assert len(finding.keys) >= 20
    assert set(finding.keys) <= {row["key"] for row in gel_rows if row["split"] == "test"}
    assert "session leak" in finding.message
    assert "22 test rows" in finding.message
    assert "touch, border" in found.text()


def test_a_photo_may_show_its_object(pack: Callable[..., Path], gel_rows: list[dict[str, Any]]) -> None:
    for row in gel_rows:
        photo = (row.pop("touch").astype(int) + 30 * "abc".index(row["label"])).clip(0, 255).astype(np.uint8)
        row["image"] = photo
    found = audit_pairs(pack(gel_rows), checks=["leak"], progress=False)
    assert found.findings == ()
    assert max(probe["ridge"] for probe in found.measures["leak"]) > 0.9


def test_the_mean_of_a_recording_that_names_the_label_and_folds_without_a_test_split(
    audit_series: Callable[..., Audit], series_rows: list[dict[str, Any]]
) -> None:
    for row in series_rows:
        row["imu"] = row["imu"] + np.float32(2 * "abc".index(row["label"]))  # a sensor zeroed once a session
        row["split"] = "train"
    (finding,) = audit_series(series_rows, "leak").findings
    assert "five-fold within the data" in finding.message
    assert len(finding.keys) >= 55
