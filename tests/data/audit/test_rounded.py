"""What float32 and 8 bits have flattened is found by key; healthy data, and the built-in world, are left alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pairalign.data.audit import Audit, audit_pairs
from pairalign.data.encode import ImageFormat
from pairalign.data.world import World

Rows = list[dict[str, Any]]
Run = Callable[..., Audit]
RNG = np.random.default_rng(0)


@pytest.fixture
def audit(pack: Callable[..., Path]) -> Run:
    def run(rows: Rows, **options: Any) -> Audit:
        return audit_pairs(pack(rows, **options), checks=["rounded", "blank"], progress=False)

    return run


def clouds(count: int = 12) -> Rows:
    return [
        {"key": f"k{n}", "points": RNG.standard_normal((200, 3)).astype(np.float32), "text": f"thing {n}"}
        for n in range(count)
    ]


def rounded(found: Audit) -> list[Any]:
    return [finding for finding in found.findings if finding.check == "rounded"]


def test_a_series_that_float32_left_a_few_steps_of(audit_series: Run, series_rows: Rows) -> None:
    time = 1700000000 + np.arange(200) * 0.5
    for number in (2, 6):
        series_rows[number]["imu"] = np.stack([*series_rows[number]["imu"][:2], time]).astype(np.float32)
    (found,) = audit_series(series_rows, "rounded").findings
    assert (found.severity, found.keys) == ("error", ("s02", "s06"))
    assert "vary by less than 256 steps of float32" in found.message


def test_the_same_in_float64_is_no_fault(audit_series: Run, series_rows: Rows) -> None:
    for row in series_rows:
        row["imu"] = 1700000000 + row["imu"].astype(np.float64)
    assert audit_series(series_rows, "rounded", "blank").findings == ()


def test_time_stamps_that_stand_still(audit_series: Run, series_rows: Rows) -> None:
    for number, row in enumerate(series_rows):
        row["stamp"] = np.array([1700000000.125 + number / 30], np.float32)
    (found,) = audit_series(series_rows, "rounded").findings
    assert len(found.keys) == 60
    assert "'stamp' stands still: 60 numbers from 1700000000 to 1700000000 have 1 different values" in found.message
    for number, row in enumerate(series_rows):
        row["stamp"] = np.array([1700000000.125 + number / 30])
    assert audit_series(series_rows, "rounded").findings == ()


@pytest.mark.parametrize("values", [lambda n: n % 3, lambda n: 5.0, lambda n: n / 7, lambda n: 1e6 + n])
def test_single_numbers_that_are_few_or_large_by_nature(
    audit_series: Run, series_rows: Rows, values: Callable[[int], float]
) -> None:
    for number, row in enumerate(series_rows):
        row["count"] = np.array([values(number)], np.float32)
    assert audit_series(series_rows, "rounded").findings == ()


def test_a_cloud_at_map_coordinates_that_collapsed(audit: Run) -> None:
    rows = clouds()
    rows[4]["points"] = (rows[4]["points"].astype(np.float64) + np.array([5.4e6, 0, 0])).astype(np.float32)
    rows[7]["points"] = rows[7]["points"].astype(np.float64) + np.array([5.4e6, 0, 0])
    (found,) = rounded(audit(rows))
    assert (found.severity, found.keys) == ("error", ("k4",))


def test_clouds_that_are_flat_along_an_axis(audit: Run) -> None:
    rows = clouds()
    rows[3]["points"][:, 2] = 1.5
    (found,) = rounded(audit(rows))
    assert (found.severity, found.keys) == ("error", ("k3",))
    assert "1 of 12 clouds of 'points' are flat: their z has one value" in found.message
    for row in rows:
        row["points"][:, 0] = 0
    planar = rounded(audit(rows))
    assert [(f.severity, len(f.keys)) for f in planar] == [("warning", 12), ("error", 1)]


def pictures(make: Callable[[int], np.ndarray]) -> Rows:
    return [{"key": f"k{n}", "image": Image.fromarray(make(n)), "text": f"thing {n}"} for n in range(12)]


def saturated(n: int) -> np.ndarray:
    """A depth picture in millimetres as a conversion to bytes leaves it: nearly all white."""
    return np.minimum(RNG.integers(200, 4000, (32, 32)) * (1 if n else 0.1), 255).astype(np.uint8)


def test_saturated_pictures_are_found_though_all_are(audit: Run) -> None:
    (found,) = rounded(audit(pictures(saturated), image=ImageFormat("png")))
    assert (found.severity, len(found.keys)) == ("error", 11)
    assert "11 of 12 pictures of 'image' are saturated" in found.message


def test_other_pictures_are_left_alone(audit: Run) -> None:
    for make in (
        lambda n: RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8),
        lambda n: RNG.integers(0, 65536, (32, 32), dtype=np.uint16),
        lambda n: RNG.integers(0, 60, (32, 32), dtype=np.uint8),
    ):
        assert rounded(audit(pictures(make))) == []


def test_the_built_in_world_has_none_of_this(pack: Callable[..., Path]) -> None:
    names = ("key", "image", "touch", "points", "text")
    rows = [{name: value for name, value in World().sample(n).items() if name in names} for n in range(40)]
    found = audit_pairs(pack(rows), checks=["mistaken", "rounded"], progress=False)
    assert found.findings == ()
