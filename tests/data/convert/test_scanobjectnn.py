"""ScanObjectNN: rows of HDF5 files, read by whoever writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from miniature import convert, read_back

from pairalign.cli.main import main
from pairalign.core.errors import DataError
from pairalign.data.index import load_index

h5py = pytest.importorskip("h5py")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for part, points in (("main_split", 12), ("main_split_nobg", 8)):
        (tmp_path / "scan" / part).mkdir(parents=True)
        for name, labels in (("training", [0, 14, 15, 4]), ("test", [9, 4])):
            path = tmp_path / "scan" / part / f"{name}_objectdataset_augmentedrot_scale75.h5"
            with h5py.File(path, "w") as file:
                data = rng.normal(size=(len(labels), points, 3)).astype(np.float32)
                data[-1, 0, 0] = np.nan if name == "training" else 0.0
                file["data"], file["label"] = data, np.array(labels, np.int32)
    return tmp_path / "scan"


def test_rows_labels_and_what_is_damaged(folder: Path, tmp_path: Path) -> None:
    done = convert("scanobjectnn", folder, tmp_path / "out", workers=2)
    found = read_back(tmp_path / "out")
    assert {k: s.values["text"] for k, s in found.items()} == {
        "train/00000": "bag", "train/00001": "toilet", "test/00000": "table", "test/00001": "chair"}  # fmt: skip
    assert done.report["reasons"] == {"label 15": 1, "points": 1}
    with h5py.File(folder / "main_split" / "test_objectdataset_augmentedrot_scale75.h5") as file:
        raw = np.asarray(file["data"][0])
    place = raw - raw.mean(0)
    np.testing.assert_allclose(
        found["test/00000"].values["points"], place / np.linalg.norm(place, axis=1).max(), atol=1e-6
    )
    assert load_index(tmp_path / "out").split_sets == {}


def test_without_background_by_the_command(folder: Path, tmp_path: Path) -> None:
    command = ["data", "convert", "scanobjectnn", str(folder), "-o", str(tmp_path / "out"), "--quiet"]
    assert main([*command, "--option", "background=false"]) == 0
    assert load_index(tmp_path / "out").modalities["points"].shape == (8, 3)


def test_a_file_that_is_none_and_an_unknown_variant(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"variant='PB'"):
        convert("scanobjectnn", folder, tmp_path / "out", options={"variant": "PB"})
    (folder / "main_split" / "test_objectdataset_augmentedrot_scale75.h5").write_bytes(b"<html>")
    with pytest.raises(DataError, match="is no HDF5 file"):
        convert("scanobjectnn", folder, tmp_path / "out")
