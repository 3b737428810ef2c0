"""Near duplicates: verdicts against slow oracles, on copies as they occur and on values that are merely alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairalign.data.audit import Audit, audit_pairs
from pairalign.data.audit.near import OVERLAP, picture_difference, series_difference


def slow_series_difference(a: np.ndarray, b: np.ndarray) -> float:
    """Every shift spelt out."""
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    least, best = max(min(a.shape[1], b.shape[1]) / 2, OVERLAP / len(a)), 0.0
    for shift in range(-(b.shape[1] // 2), a.shape[1] // 2 + 1):
        mine = a[:, max(shift, 0) : b.shape[1] + shift]
        theirs = b[:, max(-shift, 0) : a.shape[1] - shift]
        if mine.shape[1] >= least:
            best = max(best, float((mine * theirs).sum() / np.sqrt((mine**2).sum() * (theirs**2).sum())))
    return 1 - best


@pytest.mark.parametrize(("long", "short"), [(60, 60), (61, 40), (33, 80)])
def test_series_are_compared_over_every_shift(long: int, short: int) -> None:
    rng = np.random.default_rng(long)
    a, b = rng.normal(size=(2, long)).cumsum(1), rng.normal(size=(2, short)).cumsum(1)
    assert series_difference(a, b) == pytest.approx(slow_series_difference(a, b), abs=1e-6)
    assert series_difference(a, 0.3 * a + 7) == pytest.approx(0, abs=1e-6)


def test_short_pieces_are_no_copies_of_anything() -> None:
    rng = np.random.default_rng(0)
    pieces = rng.normal(size=(20, 1, 6))
    assert min(series_difference(a, b) for a in pieces for b in pieces if a is not b) == 1.0


def test_a_copied_recording_is_found_and_a_similar_one_is_not(
    audit_series: Callable[..., Audit], series_rows: list[dict[str, Any]]
) -> None:
    rng = np.random.default_rng(1)
    copy = np.roll(0.9 * series_rows[4]["imu"], 17, axis=1)[:, 17:]  # cut off, quieter, later
    series_rows[11]["imu"] = (copy + 0.02 * rng.normal(size=copy.shape)).astype(np.float32)
    series_rows[15]["imu"] = (series_rows[8]["imu"] + 1.2 * rng.normal(size=(3, 200))).astype(np.float32)
    (finding,) = audit_series(series_rows, "duplicates").findings
    assert finding.keys == ("s11",)
    assert finding.figures["pairs"][0][:2] == ["s11", "s04"]


def test_a_picture_and_its_copy_differ_by_less_than_two_pictures() -> None:
    rng = np.random.default_rng(0)
    a, other = (np.kron(rng.random((8, 8, 3)), np.ones((4, 4, 1))) for _ in range(2))
    spread = float((a - other).std() / np.sqrt(2))
    assert picture_difference(a, 0.8 * a + 0.1, spread) == pytest.approx(0, abs=1e-6)
    assert picture_difference(a, a + rng.normal(0, 0.01, a.shape), spread) < 1
    assert picture_difference(a, other, spread) > 2
    spot = a.copy()
    spot[8:12, 8:12] = 1 - spot[8:12, 8:12]  # the same scene with another small thing in it
    assert picture_difference(a, spot, spread) > 1


def test_depth_images_in_a_wide_range_are_told_apart(pack: Callable[..., Path]) -> None:
    """One far corner widens the range that the index records, in which all others would be flat and alike."""
    rng, rows = np.random.default_rng(0), []
    for number in range(40):
        shape = np.kron(rng.normal(0, 30, (4, 4)), np.ones((12, 12))) + rng.normal(0, 2, (48, 48)) + 4900
        shape[:12, :12] += 50_000 * (number == 5)
        split = "test" if number % 4 == 3 else "train"
        rows.append({"key": f"d{number:02d}", "depth": shape.astype(np.uint16), "text": f"{number}", "split": split})
    rows[7]["depth"] = (rows[4]["depth"].astype(int) + rng.integers(-1, 2, (48, 48))).astype(np.uint16)
    units = {"depth": {"axes": ("height", "width")}}
    found = audit_pairs(pack(rows, units=units), checks=["duplicates"], progress=False)
    assert [finding.keys for finding in found.findings] == [("d07",)]
