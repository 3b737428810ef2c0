"""The report of an audit: a file that is whole or absent, and the worst fault first on the terminal."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pairalign.core.errors import StorageError
from pairalign.data.audit import Audit, Finding

AUDIT = Audit(
    "shards",
    {"train": 8, "test": 2},
    {"touch": "image"},
    ("blank", "groups"),
    (
        Finding("blank", "note", "quiet.", tuple(f"k{i}" for i in range(9))),
        Finding("groups", "error", "crossing.", ("k1",), {"groups": 1}),
        Finding("blank", "warning", "faint.", ("k2",)),
    ),
    {"blank": {}},
)


def test_the_file_is_replaced_whole_or_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "audit.json"
    AUDIT.write(path)
    before = path.read_bytes()
    assert json.loads(before)["findings"][1] == {
        "check": "groups",
        "severity": "error",
        "message": "crossing.",
        "keys": ["k1"],
        "figures": {"groups": 1},
    }

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StorageError, match="the disk is full"):
        AUDIT.write(path)
    assert [p.name for p in tmp_path.iterdir()] == ["audit.json"]
    assert path.read_bytes() == before


def test_a_path_below_a_file_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        AUDIT.write(tmp_path / "file" / "audit.json")


def test_severities_are_ordered() -> None:
    assert [f.severity for f in AUDIT.at_least("warning")] == ["error", "warning"]
    assert len(AUDIT.at_least("note")) == 3
    text = AUDIT.text()
    assert text.index("crossing.") < text.index("faint.") < text.index("quiet.")
    assert "1 error, 1 warning, 1 note in 2 checks" in text
    assert "k0, k1, k2, k3, k4 … 9 in all" in text
