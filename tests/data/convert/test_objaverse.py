"""Objaverse in three forms, and the narrow door for pickles."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from miniature import convert, read_back

from pairalign.cli.main import main
from pairalign.core.errors import DataError
from pairalign.data.convert.pickles import load_pickled_npy, load_tensor
from pairalign.data.index import load_index


def cloud(seed: int, columns: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=(16, columns)).astype(np.float32)


def centred_slowly(points: np.ndarray) -> np.ndarray:
    place = points - np.array([points[:, i].sum() / len(points) for i in range(3)])
    return place / max(float((row @ row) ** 0.5) for row in place)


@pytest.fixture
def pointllm(tmp_path: Path) -> Path:
    home = tmp_path / "objaverse"
    (home / "8192_npy").mkdir(parents=True)
    for number, uid in enumerate(("a1", "b2", "c3", "e5")):
        np.save(home / "8192_npy" / f"{uid}_8192.npy", cloud(number) if uid != "c3" else cloud(number, 2))
    rows = ['a1,"a cup, blue, with ""ears"""', 'b2,"two\nlines"', "c3,bad", "d4,gone", "a1,again"]
    (home / "Cap3D_captions.csv").write_text("\n".join(rows) + "\n")
    return home


def test_pointllm_with_a_table_by_the_command(pointllm: Path, tmp_path: Path) -> None:
    command = ["data", "convert", "objaverse", str(pointllm), "-o", str(tmp_path / "out"), "--quiet"]
    assert main([*command, "--option", "colour=true"]) == 0
    report = json.loads((tmp_path / "out" / "conversion.json").read_text())
    assert report["reasons"] == {"no caption": 1, "missing points file": 1, "named twice": 1, "points": 1}
    found = read_back(tmp_path / "out")
    assert {k: s.values["text"] for k, s in found.items()} == {"a1": 'a cup, blue, with "ears"', "b2": "two\nlines"}
    stored = found["a1"].values["points"]
    np.testing.assert_allclose(stored[:, :3], centred_slowly(cloud(0)[:, :3]), atol=1e-5)
    np.testing.assert_array_equal(stored[:, 3:], cloud(0)[:, 3:])
    assert load_index(tmp_path / "out").modalities["points"].axes == ("point", "xyzrgb")


def test_cap3d_tensors_need_no_trust(tmp_path: Path) -> None:
    home = tmp_path / "cap3d"
    home.mkdir()
    for number, uid in enumerate(("a1", "b2")):
        torch.save(torch.from_numpy(cloud(number).T.copy()), home / f"{uid}.pt")
    torch.save({"model": Path("x")}, home / "c3.pt")
    (tmp_path / "captions.csv").write_text("a1,one\nb2,two\nc3,three\n")
    done = convert("objaverse", home, tmp_path / "out", options={"captions": str(tmp_path / "captions.csv")})
    assert done.report["reasons"] == {"points": 1}
    found = read_back(tmp_path / "out")
    np.testing.assert_allclose(found["b2"].values["points"], centred_slowly(cloud(1)[:, :3]), atol=1e-5)


def openshape(home: Path, objects: dict[str, Any]) -> Path:
    (home / "split").mkdir(parents=True)
    entries = [{"id": uid, "group": "g", "dataset": "objaverse", "data_path": f"pc/{uid}.npy"} for uid in objects]
    (home / "split" / "train_all.json").write_text(json.dumps(entries[:2]))
    (home / "split" / "lvis.json").write_text(json.dumps([e | {"category": "mug"} for e in entries[2:]]))
    (home / "pc").mkdir()
    for uid, value in objects.items():
        np.save(home / "pc" / f"{uid}.npy", np.array(value, object), allow_pickle=True)
    return home


def shape(seed: int, **captions: Any) -> dict[str, Any]:
    return {"xyz": cloud(seed, 3), "rgb": cloud(seed + 50, 3), **captions}


def test_openshape_needs_trust_and_then_gives_captions_and_splits(tmp_path: Path) -> None:
    home = openshape(
        tmp_path / "openshape",
        {"a": shape(0, text=["one", "x"]), "b": shape(1, text="two"), "c": shape(2, text=["three"]), "d": shape(3)},
    )
    with pytest.raises(DataError, match=r"c\.npy is a pickle.*trust_pickles=true"):
        convert("objaverse", home, tmp_path / "out")
    done = convert("objaverse", home, tmp_path / "out", options={"trust_pickles": True})
    assert done.report["reasons"] == {"text": 1}
    found = read_back(tmp_path / "out")
    assert {k: (s.values["text"], s.meta["split"], s.meta.get("label")) for k, s in found.items()} == {
        "a": ("one", "train", None), "b": ("two", "train", None), "c": ("three", "test", "mug")}  # fmt: skip
    np.testing.assert_allclose(found["c"].values["points"], centred_slowly(cloud(2, 3)), atol=1e-5)


class Bomb:
    """What a pickle may do: write a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("bare", [False, True])
def test_an_unpickle_bomb_never_goes_off(tmp_path: Path, trusted: bool, bare: bool) -> None:
    bomb, path = Bomb(tmp_path / "crater"), tmp_path / "x.npy"
    if bare:
        path.write_bytes(pickle.dumps({"xyz": bomb}))
    else:
        np.save(path, np.array({"xyz": bomb}, object), allow_pickle=True)
    with pytest.raises(DataError, match=r"x\.npy: the pickle wants \w+\.mkdir" if trusted else r"x\.npy is a pickle"):
        load_pickled_npy(path, trusted)
    torch.save({"xyz": bomb}, tmp_path / "x.pt")
    with pytest.raises(DataError, match=r"x\.pt: is no plain tensor"):
        load_tensor(tmp_path / "x.pt")
    assert not (tmp_path / "crater").exists()
    np.load(path, allow_pickle=True)  # the bomb is a real one
    assert (tmp_path / "crater").exists()


def test_a_plain_array_needs_no_trust_and_a_damaged_file_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", cloud(0))
    np.testing.assert_array_equal(load_pickled_npy(tmp_path / "x.npy", False), cloud(0))
    whole = pickle.dumps({"xyz": cloud(0)})
    (tmp_path / "y.npy").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"y\.npy: is damaged"):
        load_pickled_npy(tmp_path / "y.npy", True)
