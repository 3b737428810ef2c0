"""What the tables say is what was packed, and the contact sheet is a whole picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pairalign.core.errors import DataError, StorageError
from pairalign.data.inspect import inspect_pairs
from pairalign.data.pack import pack_pairs


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    rows = [
        {
            "key": f"k{number}",
            "image": rng.integers(0, 200, (16 + number % 2, 20, 3)).astype(np.uint8),
            "imu": rng.normal(0, 1, (3, 50)).astype(np.float32),
            "cloud": rng.normal(0, 1, (64, 3)).astype(np.float32),
            "force": np.arange(4, dtype=np.float32) + number,
            "text": "a red mug" if number % 2 else "a large blue ball",
            "label": "mug" if number % 2 else "ball",
            "split": "test" if number > 7 else "train",
        }
        for number in range(10)
    ]
    units = {"imu": {"unit": "m/s2", "rate": 100.0, "axes": ("channel", "time")}, "force": {"unit": "N"}}
    pack_pairs(rows, tmp_path / "shards", units=units, progress=False, licence="MIT")
    return tmp_path / "shards"


def test_the_tables_say_what_is_stored(shards: Path) -> None:
    found = inspect_pairs(shards, samples=3, progress=False)
    lines = {line.split()[0]: line for line in found.text.splitlines() if line}
    assert "10 samples (test 2, train 8)" in found.text
    assert "licence: MIT" in found.text
    for name, parts in {
        "image": ["image", "16×20×3", "17×20×3"],
        "imu": ["series", "m/s2", "100 Hz", "3×50"],
        "cloud": ["points", "64×3"],
        "force": ["vector", "N", "12", "0 ", "6"],
        "text": ["text", "2 ", "3 to 4 words"],
    }.items():
        assert all(part in lines[name] for part in parts), lines[name]
    assert (found.seen["force"].low, found.seen["force"].high) == (0.0, 12.0)
    assert found.seen["force"].total / found.seen["force"].values == pytest.approx(6.0)
    assert len(found.seen["text"].ids) == 2


def test_the_sheet_has_a_row_for_each_pair_and_repeats_with_the_seed(shards: Path, tmp_path: Path) -> None:
    sheets = [
        inspect_pairs(shards, samples=n, seed=s, out=tmp_path / f"{n}{s}{i}.png", progress=False).sheet
        for n, s, i in ((2, 0, 0), (4, 0, 0), (4, 0, 1), (4, 1, 0))
    ]
    pictures = [np.asarray(Image.open(sheet).convert("RGB"), float) for sheet in sheets]
    assert pictures[1].shape[0] > 1.5 * pictures[0].shape[0]
    assert np.array_equal(pictures[1], pictures[2])
    assert not np.array_equal(pictures[1], pictures[3])
    assert all(picture.std() > 5 for picture in pictures)


def test_more_pairs_than_there_are_draws_them_all(shards: Path) -> None:
    found = inspect_pairs(shards, splits=["test"], samples=50, progress=False)
    assert found.sheet == shards / "contact_sheet.png"
    assert "2 samples (test 2)" in found.text


def test_what_cannot_be_looked_at_is_refused(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Did you mean 'train'"):
        inspect_pairs(shards, splits=["trian"], progress=False)
    with pytest.raises(DataError, match="samples=0"):
        inspect_pairs(shards, samples=0, progress=False)
    with pytest.raises(StorageError, match="cannot be written"):
        inspect_pairs(shards, samples=1, out=shards / "index.json" / "sheet.png", progress=False)
    assert not list(tmp_path.rglob("*.partial*"))


def test_an_index_that_tells_of_no_samples_is_refused(shards: Path) -> None:
    index = json.loads((shards / "index.json").read_text())
    index["splits"] = {}
    (shards / "index.json").write_text(json.dumps(index))
    with pytest.raises(DataError, match="it holds no samples"):
        inspect_pairs(shards)


def test_a_split_named_twice_counts_once_and_dtypes_are_told(shards: Path) -> None:
    found = inspect_pairs(shards, splits=["test", "test"], samples=1, progress=False)
    assert "2 samples (test 2)" in found.text
    assert {name: seen.dtypes for name, seen in found.seen.items()} == {
        "image": {"uint8"},
        "imu": {"float32"},
        "cloud": {"float32"},
        "force": {"float32"},
        "text": set(),
    }


def test_an_old_sheet_stays_when_the_new_one_cannot_be_written(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (shards / "contact_sheet.png").write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pairalign.files.os.replace", full)
    with pytest.raises(StorageError, match="the disk is full"):
        inspect_pairs(shards, samples=1, progress=False)
    assert (shards / "contact_sheet.png").read_bytes() == b"old"
    assert not list(shards.glob("*.partial*")) + list(shards.glob(".*.partial*"))
    with pytest.raises(StorageError, match="cannot be written"):
        inspect_pairs(shards, samples=1, out=shards / "index.json" / "sheet.png", progress=False)
