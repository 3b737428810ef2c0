"""What a pack makes of each modality is shown before it begins, and when it is done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pairalign.cli.main import main
from pairalign.core.errors import DataError
from pairalign.data.index import load_index
from pairalign.data.pack import pack_pairs, preview_pairs
from pairalign.data.preview import describe


def rows(count: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    return [
        {
            "image": Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)),
            "grip": {"frames": [rng.normal(size=(4, 90 + i)).astype("f4") for _ in range(2)], "sensor": "mine"},
            "weight": np.float64(2.5),
            "text": f"push {i} " * 20,
        }
        for i in range(count)
    ]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_each_modality_has_kind_unit_shape_range_and_an_example(tmp_path: Path) -> None:
    units = {"grip": {"unit": "kPa", "rate": 50.0}}
    pack_pairs(rows(3), tmp_path / "out", units=units, seed=None, progress=False)
    head, *lines = describe(load_index(tmp_path / "out"), tmp_path / "out").splitlines()
    found = {cells(line)[0]: cells(line)[1:] for line in lines}
    assert cells(head) == ["modality", "kind", "unit", "shape", "range", "example"]
    assert found["image"] == ["image", "-", "6×8×3 uint8", "0 to 255", "8×6 RGB"]
    assert found["grip"][:3] == ["series", "kPa, 50 Hz", "4×? float32"]
    assert (found["weight"][0], found["weight"][3:]) == ("vector", ["2.5 to 2.5", "2.5"])
    assert found["text"][:4] == ["text", "-", "-", "-"]
    assert found["text"][4].startswith("'push 0 push 0")
    assert found["text"][4].endswith("…")
    seen = preview_pairs(rows(3), units=units, seed=None).splitlines()
    assert seen == ["first 3 rows:", head, *lines]


def test_bad_rows_among_the_first_end_it_before_anything_is_written(tmp_path: Path) -> None:
    samples = [{"key": f"k{i}", "force": [i, np.nan if i % 2 else 1.0]} for i in range(14)]
    said: list[str] = []
    with pytest.raises(DataError, match=r"sample 'k1': force: .*NaN"):
        pack_pairs(samples, tmp_path / "out", seed=None, say=said.append, progress=False)
    assert not (tmp_path / "out").exists()
    pack_pairs(samples, tmp_path / "out", seed=None, say=said.append, progress=False, on_bad="skip")
    assert sum("bad: k" in line for line in said[-1].splitlines()) == 5
    assert said[-1].endswith("… 2 more are bad")


def test_a_finished_folder_survives_a_bad_row_of_its_replacement(tmp_path: Path) -> None:
    out = tmp_path / "out"
    pack_pairs(rows(3), out, progress=False)
    (tmp_path / "m.jsonl").write_text('{"text": "a", "force": [1, NaN]}\n')
    assert main(["data", "pack", str(tmp_path / "m.jsonl"), str(out), "--overwrite", "--quiet"]) == 2
    assert load_index(out).splits["train"].count == 3


def test_a_dry_run_shows_all_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [{"key": f"k{i}", "force": [i, 1.5], "answer": str(i), "who": "ann"} for i in range(3)]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, [*lines, {"key": "", **lines[0], "force": None}])))
    words = ["data", "pack", str(tmp_path / "m.jsonl"), str(tmp_path / "out"), "--dry-run", "--skip-bad"]
    assert main([*words, "--kind", "answer=number", "--unit", "force=N"]) == 0
    printed = capsys.readouterr().out
    assert "answer  number" in printed
    assert "left out, nobody named them: who" in printed
    assert "force     vector  N     2 float64" in printed
    assert "skipped 'k0': " in printed
    assert "nothing is written" in printed
    assert list(tmp_path.iterdir()) == [tmp_path / "m.jsonl"]
