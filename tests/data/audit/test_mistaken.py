"""Names of files and printed numbers that earlier versions packed as captions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pairalign.data.audit import Audit
from pairalign.data.audit.mistaken import file_name

Rows = list[dict[str, Any]]
Run = Callable[..., Audit]


def test_healthy_captions_are_left_alone(audit_series: Run, series_rows: Rows) -> None:
    healthy = ("3.5", "version 2.0", "a file called x.png lies here", "e.g.", "www.mug.com/a", "[one]")
    for number, text in enumerate(healthy):
        series_rows[number]["text"] = text
    assert audit_series(series_rows, "mistaken").findings == ()


def test_names_of_files_are_found_by_key(audit_series: Run, series_rows: Rows) -> None:
    for number, text in ((3, "pictures/0003.webp"), (5, "scan.ply "), (8, f"{'long/' * 40}a.flac")):
        series_rows[number]["text"] = text
    (found,) = audit_series(series_rows, "mistaken").findings
    assert (found.severity, sorted(found.keys)) == ("error", ["s03", "s05", "s08"])
    assert found.figures == {"modality": "text", "samples": 3}
    assert "3 texts of 'text' are names of files ('" in found.message


def test_printed_arrays_are_found_by_key(audit_series: Run, series_rows: Rows) -> None:
    series_rows[7]["text"], series_rows[9]["text"] = "[3.]", "[1.0, -2e3]"
    (found,) = audit_series(series_rows, "mistaken").findings
    assert sorted(found.keys) == ["s07", "s09"]
    assert "are printed arrays ('[" in found.message


@pytest.mark.parametrize("name", ["answer", "caption2", "text_en"])
def test_numbers_in_a_column_of_texts_are_found(audit_series: Run, series_rows: Rows, name: str) -> None:
    for number, row in enumerate(series_rows):
        row[name] = np.array([float(number % 7)], np.float32)
    (found,) = audit_series(series_rows, "mistaken").findings
    assert len(found.keys) == 60
    assert f"60 of 60 values of '{name}' are numbers" in found.message


def test_numbers_among_texts_are_found_whatever_the_name(audit_series: Run, series_rows: Rows) -> None:
    for number, row in enumerate(series_rows):
        row["said"] = np.array([360.0], np.float32) if number == 4 else f"about {number}"
    (found,) = audit_series(series_rows, "mistaken").findings
    assert found.keys == ("s04",)


def test_numbers_that_are_meant_are_left_alone(audit_series: Run, series_rows: Rows) -> None:
    for number, row in enumerate(series_rows):
        row["force"] = np.array([float(number)], np.float32)
        row["text_embedding"] = np.random.default_rng(number).standard_normal(64).astype(np.float32)
    assert audit_series(series_rows, "mistaken").findings == ()


@pytest.mark.parametrize(
    ("text", "file"),
    [("a.webp", True), ("a/b/c.xyz1", True), ("x.eps", True), ("so.be it", False), ("end.the", False), ("3.14", False),
     ("http://a.b/c.foo", False), ("a.npz::b", False)],
)  # fmt: skip
def test_what_counts_as_the_name_of_a_file(text: str, file: bool) -> None:
    assert file_name(text) == file
