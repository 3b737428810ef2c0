"""ShapeNet in ULIP's form: names, views, and what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from miniature import convert, picture, read_back

from pairalign.core.errors import DataError

MODELS = {
    "train": ["02691156-aa1", "02691156-bb2", "03001627-cc3"],
    "test": ["03001627-dd4", "09999999-ee5", "02691156-ff6"],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "shapenet"
    (home / "shapenet_pc").mkdir(parents=True)
    taxonomy = [{"synsetId": "02691156", "name": "airplane,aeroplane,plane"}, {"synsetId": "03001627", "name": "chair"}]
    (home / "taxonomy.json").write_text(json.dumps(taxonomy))
    rng = np.random.default_rng(0)
    for split, models in MODELS.items():
        (home / f"{split}.txt").write_text("".join(f"{model}.npy\n" for model in models))
        for model in models:
            if not model.endswith("ff6"):
                np.save(home / "shapenet_pc" / f"{model}.npy", rng.normal(size=(20, 3)).astype(np.float32))
            for view in range(3 if model.endswith("1") else 1):
                picture(home / "rendered_images" / model / f"{model}_r_{30 * view:03d}.png", view)
    np.save(home / "shapenet_pc" / "03001627-cc3.npy", np.array([{"xyz": 1}], object), allow_pickle=True)
    return home


def test_names_splits_and_what_is_missing(folder: Path, tmp_path: Path) -> None:
    done = convert("shapenet", folder, tmp_path / "out")
    found = read_back(tmp_path / "out")
    assert set(found) == {"02691156-aa1", "02691156-bb2", "03001627-dd4"}
    assert done.report["reasons"] == {"unknown synset": 1, "missing points file": 1, "points": 1}  # one is a pickle
    assert found["02691156-aa1"].values["text"] == "airplane"
    assert found["02691156-aa1"].meta["names"] == ["airplane", "aeroplane", "plane"]


def test_every_view_is_a_sample_and_a_model_stays_whole(folder: Path, tmp_path: Path) -> None:
    convert("shapenet", folder, tmp_path / "out", options={"views": 2})
    found = read_back(tmp_path / "out")
    assert sorted(k for k in found if "aa1" in k) == ["02691156-aa1/000", "02691156-aa1/030"]
    assert len({found[k].meta["splits"]["by_object"] for k in found if "aa1" in k}) == 1
    assert found["02691156-aa1/030"].values["image"].size == (32, 24)


def test_a_damaged_taxonomy_is_named(folder: Path, tmp_path: Path) -> None:
    (folder / "taxonomy.json").write_text('[{"name": "chair"}]')
    with pytest.raises(DataError, match=r"taxonomy\.json is damaged"):
        convert("shapenet", folder, tmp_path / "out")
