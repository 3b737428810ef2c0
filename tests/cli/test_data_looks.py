"""`data inspect` and `data audit` on the command line: what is printed, and the exit code for a CI."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pairalign.cli.main import main
from pairalign.data.pack import pack_pairs


def pack(folder: Path, twice: bool) -> Path:
    rng = np.random.default_rng(0)
    rows = [
        {"key": f"k{n}", "force": rng.normal(0, 1, 8), "text": f"touch {n}", "split": "test" if n > 20 else "train"}
        for n in range(30)
    ]
    if twice:
        rows[25]["force"] = rows[3]["force"]
    pack_pairs(rows, folder, progress=False)
    return folder


def test_inspect_prints_the_table_and_writes_the_sheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = pack(tmp_path / "shards", twice=False)
    assert main(["data", "inspect", str(folder), "--samples", "2", "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert "30 samples (test 9, train 21)" in printed
    assert str(folder / "contact_sheet.png") in printed
    assert (folder / "contact_sheet.png").is_file()


@pytest.mark.parametrize(("twice", "level", "code"), [(False, "note", 0), (True, "error", 1), (True, "note", 1)])
def test_the_exit_code_of_an_audit(tmp_path: Path, twice: bool, level: str, code: int) -> None:
    folder = pack(tmp_path / "shards", twice)
    words = ["data", "audit", str(folder), "--quiet", "--fail-on", level, "--out", str(tmp_path / "audit.json")]
    assert main(words) == code
    found = json.loads((tmp_path / "audit.json").read_text())["findings"]
    assert [finding["keys"] for finding in found] == ([["k25"]] if twice else [])


def test_a_finding_below_the_level_does_not_fail(tmp_path: Path) -> None:
    rows = [{"key": str(n), "x": np.arange(8.0) + n, "text": "a mug", "split": "train"} for n in range(6)]
    pack_pairs(rows, tmp_path / "shards", progress=False)
    words = ["data", "audit", str(tmp_path / "shards"), "--quiet", "--check", "captions"]
    assert main([*words, "--fail-on", "error"]) == 0
    assert main(words) == 1


def test_wrong_words_are_one_clean_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = pack(tmp_path / "shards", twice=False)
    assert main(["data", "audit", str(folder), "--check", "duplicate", "--quiet"]) == 2
    assert "Did you mean 'duplicates'" in capsys.readouterr().err
    assert main(["data", "inspect", str(tmp_path / "nothing"), "--quiet"]) == 2
    assert "nothing" in capsys.readouterr().err
