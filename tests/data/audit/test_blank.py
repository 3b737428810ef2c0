"""Samples that are NaN, cannot be read, have a dead channel or are cut off at the top; each beside healthy ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pairalign.data.audit import Audit, audit_pairs


def overwrite(folder: Path, old: bytes, new: bytes) -> None:
    """Damage a shard in place: the tar stays whole."""
    assert len(old) == len(new)
    (shard,) = [path for path in folder.glob("*.tar") if old in path.read_bytes()]
    shard.write_bytes(shard.read_bytes().replace(old, new))


def test_healthy_series_have_no_findings_in_any_check(
    audit_series: Callable[..., Audit], series_rows: list[dict[str, Any]]
) -> None:
    found = audit_series(series_rows)
    assert [finding.check for finding in found.findings] == ["clusters"]  # three sessions to test on are few
    assert found.kinds == {"imu": "series", "text": "text"}


def test_nan_and_unreadable_samples_are_named_and_the_others_still_audited(
    pack: Callable[..., Path], series_rows: list[dict[str, Any]]
) -> None:
    series_rows[7]["imu"] = series_rows[4]["imu"]  # behind the damage: places in the shard must still be right
    folder = pack(series_rows)
    nan = np.full_like(series_rows[2]["imu"], np.nan)
    overwrite(folder, series_rows[2]["imu"].tobytes(), nan.tobytes())
    magic = b"\x93NUMPY"
    overwrite(folder, whole := _header(folder, series_rows[5]["imu"]), whole.replace(magic, b"\0" * len(magic)))
    found = audit_pairs(folder, checks=["blank", "duplicates"], progress=False)
    by_message = {f.message.split(". ")[0]: f for f in found.findings}
    assert by_message["1 samples hold NaN or infinity"].keys == ("s02",)
    assert by_message["1 samples cannot be read"].keys == ("s05",)
    assert [f.keys for f in found.findings if f.check == "duplicates"] == [("s07",)]
    assert found.counts == {"train": 43, "test": 15}
    assert all(f.severity == "error" for f in found.findings)


def _header(folder: Path, array: np.ndarray) -> bytes:
    """The stored npy file of one array."""
    for path in folder.glob("*.tar"):
        data = path.read_bytes()
        if (at := data.find(array.tobytes())) >= 0:
            return data[data.rfind(b"\x93NUMPY", 0, at) : at + array.nbytes]
    raise AssertionError("not stored")


def test_a_dead_channel_a_constant_and_a_clipped_recording(
    audit_series: Callable[..., Audit], series_rows: list[dict[str, Any]]
) -> None:
    series_rows[1]["imu"][2] = 0.5
    series_rows[8]["imu"] = np.full((3, 200), 2.0, np.float32)
    top = 1.1 * max(float(row["imu"].max()) for row in series_rows)
    series_rows[9]["imu"] = np.minimum(6 * series_rows[9]["imu"], top).clip(-2)  # overdriven, cut at one end
    found = {(f.severity, f.keys): f.message for f in audit_series(series_rows, "blank").findings}
    assert set(found) == {("warning", ("s01",)), ("error", ("s08",)), ("warning", ("s09",))}
    assert "never moves" in found["warning", ("s01",)]
    assert "highest" in found["warning", ("s09",)]


def test_one_value_at_the_end_of_the_range_is_no_clipping(audit_series: Callable[..., Audit]) -> None:
    """Of a dozen values the largest one alone is 8 % of them."""
    rng = np.random.default_rng(0)
    rows = [{"key": str(i), "imu": rng.normal(size=(3, 4)).astype("f4"), "text": f"t{i}"} for i in range(30)]
    assert audit_series(rows, "blank").findings == ()
