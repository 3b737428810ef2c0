"""What goes wrong in published sets of point clouds: each fault is named, and nothing else is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from miniature import convert, picture, read_back

from pairalign.cli.main import main
from pairalign.core.errors import DataError
from pairalign.data.convert import Conversion
from pairalign.data.index import load_index

CLASSES = ("tv_stand", "night_stand", "glass_box", "flower_pot", "range_hood", "xbox", "stand")


def cloud(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


def by_key(done: Conversion) -> dict[str, str]:
    return dict(done.index.skipped)


def modelnet(home: Path) -> Path:
    """Two models of each class; some rows are not finite, short, or words."""
    home.mkdir()
    (home / "modelnet40_shape_names.txt").write_text("\n".join(CLASSES))
    lists: dict[str, list[str]] = {"train": [], "test": []}
    for number, name in enumerate(CLASSES):
        (home / name).mkdir()
        for model, split in ((1, "train"), (2, "test")):
            stem = f"{name}_{model:04d}"
            lists[split].append(stem)
            np.savetxt(home / name / f"{stem}.txt", cloud(10 * number + model, 9, 6), delimiter=",", fmt="%.5f")
    for split, models in lists.items():
        (home / f"modelnet40_{split}.txt").write_text("\n".join(models))
    return home


def test_classes_with_underscores_stay_apart(tmp_path: Path) -> None:
    convert("modelnet40", modelnet(tmp_path / "home"), tmp_path / "out")
    found = read_back(tmp_path / "out")
    assert {key.rpartition("_")[0]: sample.meta["label"] for key, sample in found.items()} == {
        "tv_stand": "tv stand", "night_stand": "night stand", "glass_box": "glass box", "flower_pot": "flower pot",
        "range_hood": "range hood", "xbox": "xbox", "stand": "stand"}  # fmt: skip
    assert len(found) == 14


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("0,0,0,0,0,1\n1,nan,0,0,0,1\n", "1 of 2 are not finite"),
        ("0,0\n1,1\n", "has 2 columns, of which 3"),
        ("0,0,0\n1,1\n", "damaged"),
        ("a,b,c\n", "damaged"),
        ("1,2,3\n1,2,3\n", "all 2 coincide"),
    ],
)
def test_damaged_points_of_one_model_cost_that_model(tmp_path: Path, rows: str, words: str) -> None:
    home = modelnet(tmp_path / "home")
    (home / "xbox" / "xbox_0001.txt").write_text(rows)
    done = convert("modelnet40", home, tmp_path / "out")
    assert words in by_key(done)["xbox_0001"]
    assert done.report["converted"] == 13


def test_a_model_in_both_lists_is_converted_once(tmp_path: Path) -> None:
    home = modelnet(tmp_path / "home")
    (home / "modelnet40_test.txt").write_text("xbox_0002\nxbox_0001\nxbox_0002\n")
    done = convert("modelnet40", home, tmp_path / "out")
    assert done.report["reasons"] == {"named twice": 2}
    assert read_back(tmp_path / "out")["xbox_0001"].meta["split"] == "train"


def test_points_keep_place_and_size_where_asked(tmp_path: Path) -> None:
    home = modelnet(tmp_path / "home")
    convert("modelnet40", home, tmp_path / "out", options={"normalise": False, "normals": True})
    stored = read_back(tmp_path / "out")["xbox_0001"].values["points"]
    np.testing.assert_array_equal(stored, np.loadtxt(home / "xbox" / "xbox_0001.txt", np.float32, delimiter=","))


def test_meshes_are_sampled_alike_by_any_number_of_workers(tmp_path: Path) -> None:
    for number in range(6):
        split = "test" if number > 3 else "train"
        path = tmp_path / "ModelNet40" / "glass_box" / split / f"glass_box_{number:04d}.off"
        path.parent.mkdir(parents=True, exist_ok=True)
        corners = "\n".join(" ".join(map(str, row)) for row in cloud(number, 4, 3))
        path.write_text(f"OFF4 2 0\n{corners}\n3 0 1 2\n3 1 2 3\n")
    for name, workers in (("a", 1), ("b", 2)):
        convert("modelnet40", tmp_path / "ModelNet40", tmp_path / name, workers=workers, shard_samples=2)
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / name).glob("*")} for name in ("a", "b"))
    assert one == two
    assert any(name.endswith(".tar") for name in one)


@pytest.fixture
def shapenet(tmp_path: Path) -> Path:
    home = tmp_path / "shapenet"
    (home / "shapenet_pc").mkdir(parents=True)
    taxonomy = [{"synsetId": "1", "name": " ,airplane, aeroplane"}, {"synsetId": "2", "name": " "}]
    (home / "taxonomy.json").write_text(json.dumps(taxonomy))
    (home / "train.txt").write_text("1-a.npy\n1-b.npy\n2-c.npy\n1-nan.npy\n1-flat.npy\n1-a.npy\n")
    (home / "test.txt").write_text("1-b.npy\n1-d.npy\n")
    for number, model in enumerate(("1-a", "1-b", "2-c", "1-d")):
        np.save(home / "shapenet_pc" / f"{model}.npy", cloud(number, 9, 3))
        for view in (0, 12, 24, 36):
            for end in (".png", "_depth0001.png"):
                picture(home / "rendered_images" / model / f"{model}_r_{view:03d}{end}", view + len(end))
    np.save(home / "shapenet_pc" / "1-nan.npy", np.full((9, 3), np.nan, np.float32))
    np.save(home / "shapenet_pc" / "1-flat.npy", cloud(9, 9, 2))
    return home


def test_shapenet_faults_are_counted_by_reason(shapenet: Path, tmp_path: Path) -> None:
    done = convert("shapenet", shapenet, tmp_path / "out")
    assert done.report["reasons"] == {"named twice": 2, "points": 2, "unknown synset": 1}
    found = read_back(tmp_path / "out")
    texts = {key: sample.values["text"] for key, sample in found.items()}
    assert texts == dict.fromkeys(("1-a", "1-b", "1-d"), "airplane")
    assert found["1-a"].meta["names"] == ["airplane", "aeroplane"]


def test_depth_renders_are_no_views(shapenet: Path, tmp_path: Path) -> None:
    command = ["data", "convert", "shapenet", str(shapenet), "-o", str(tmp_path / "out"), "--quiet"]
    assert main([*command, "--option", "views=9"]) == 0
    keys = {key for key in read_back(tmp_path / "out") if key.startswith("1-a")}
    assert keys == {"1-a/000", "1-a/012", "1-a/024", "1-a/036"}
    index = load_index(tmp_path / "out")
    assert index.modalities["points"].up == "+y"
    with pytest.raises(DataError, match="views=-1"):
        convert("shapenet", shapenet, tmp_path / "no", options={"views": -1})


def test_a_missing_list_is_told(shapenet: Path, tmp_path: Path) -> None:
    (shapenet / "test.txt").unlink()
    assert by_key(convert("shapenet", shapenet, tmp_path / "out"))["test"] == "missing list: test.txt"


def dense(home: Path, **clouds: np.ndarray) -> Path:
    """PointLLM's form."""
    (home / "8192_npy").mkdir(parents=True)
    for uid, value in clouds.items():
        np.save(home / "8192_npy" / f"{uid}_8192.npy", value)
    (home / "captions.csv").write_text("".join(f"{uid},thing {uid}\n" for uid in clouds))
    return home


def test_tables_as_they_occur(tmp_path: Path) -> None:
    home = dense(tmp_path / "home", a=cloud(0, 9, 6), b=cloud(1, 9, 6), c=cloud(2, 9, 6), d=cloud(3, 9, 6))
    text = '\ufeffa,"red, ""shiny""\r\ncup"\r\n\r\nb,loose, comma\r\nc,\r\n d , ünï \r\nd,again\r\ne,lost\r\n'
    (home / "captions.csv").write_bytes(text.encode("utf-8"))
    done = convert("objaverse", home, tmp_path / "out")
    found = {key: sample.values["text"] for key, sample in read_back(tmp_path / "out").items()}
    assert found == {"a": 'red, "shiny"\r\ncup', "d": "ünï"}
    assert done.report["reasons"] == {"no caption": 2, "damaged row": 1, "named twice": 1, "missing points file": 1}


def test_colours_are_checked_and_known_bad_ones_left_out(tmp_path: Path) -> None:
    bytes_ = cloud(1, 9, 6) * 255
    bad = "6760e543e1d645d5aaacd3803bcae524"
    home = dense(tmp_path / "home", good=cloud(0, 9, 6), bytes=bytes_, plain=cloud(2, 9, 3), **{bad: cloud(3, 9, 6)})
    done = convert("objaverse", home, tmp_path / "colour", options={"colour": True})
    assert set(read_back(tmp_path / "colour")) == {"good"}
    assert "colours go from" in by_key(done)["bytes"]
    assert "of which 6 columns" in by_key(done)["plain"]
    assert by_key(done)[bad].startswith("corrupt colour")
    assert done.index.modalities["points"].up == "+z"
    assert set(read_back_of(home, tmp_path / "bare")) == {"good", "bytes", "plain", bad}


def read_back_of(home: Path, out: Path, **options: Any) -> dict[str, Any]:
    convert("objaverse", home, out, options=options)
    return read_back(out)


def test_tensors_lying_down_are_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    torch.save(torch.from_numpy(cloud(0, 6, 9)), home / "a.pt")
    torch.save(torch.from_numpy(cloud(1, 9, 6)), home / "b.pt")
    (home / "captions.csv").write_text("a,one\nb,two\n")
    done = convert("objaverse", home, tmp_path / "out")
    assert "where (6, N) is needed" in by_key(done)["b"]
    assert set(read_back(tmp_path / "out")) == {"a"}


def openshape(home: Path, **lists: list[dict[str, Any]]) -> Path:
    (home / "meta_data" / "split").mkdir(parents=True)
    (home / "Objaverse" / "000-000").mkdir(parents=True)
    for name, entries in lists.items():
        (home / "meta_data" / "split" / f"{name}.json").write_text(json.dumps(entries))
        for entry in entries:
            value = {"xyz": cloud(ord(entry["data_path"][-5]), 9, 3), "text": [entry["data_path"][-5]]}
            if entry["data_path"].startswith("Objaverse"):
                np.save(home / entry["data_path"], np.array(value, object), allow_pickle=True)
    return home


def entry(uid: str, key: str = "id", **more: str) -> dict[str, str]:
    return {key: uid, "group": "000-000", "data_path": f"Objaverse/000-000/{uid}.npy", **more}


def test_openshape_lists_overlap_and_what_is_test_is_not_trained_on(tmp_path: Path) -> None:
    home = openshape(
        tmp_path / "home",
        train_all=[entry(uid, dataset="Objaverse") for uid in "abcd"],
        train_no_lvis=[entry(uid) for uid in "abd"],
        val=[entry("d")],
        lvis=[entry("c", "uid", category="teacup"), entry("z", "uid", category="mug"), entry("z", "uid")],
    )
    done = convert("objaverse", home, tmp_path / "out", options={"trust_pickles": True, "normalise": False})
    found = read_back(tmp_path / "out")
    splits = {key: (sample.meta["split"], sample.meta.get("label")) for key, sample in found.items()}
    assert splits == dict.fromkeys("ab", ("train", None)) | {
        "d": ("val", None),
        "c": ("test", "teacup"),
        "z": ("test", "mug"),
    }
    assert done.report["reasons"] == {"named twice": 1}
    assert done.index.modalities["points"].up == "+y"  # as stored: y and z are not exchanged
    np.testing.assert_array_equal(found["a"].values["points"], cloud(ord("a"), 9, 3))
    assert found["a"].meta["dataset"] == "Objaverse"


def test_a_list_cannot_reach_out_of_the_folder(tmp_path: Path) -> None:
    outside = tmp_path / "outside.npy"
    np.save(outside, np.array({"xyz": cloud(0, 9, 3), "text": "secret"}, object), allow_pickle=True)
    reaching = [{"id": "u", "data_path": "../outside.npy"}, {"id": "v", "data_path": str(outside)}]
    home = openshape(tmp_path / "home", train_all=[entry("a"), *reaching])
    done = convert("objaverse", home, tmp_path / "out", options={"trust_pickles": True})
    assert done.report["reasons"] == {"missing points file": 2}
    assert set(read_back(tmp_path / "out")) == {"a"}


def test_trusted_files_that_hold_something_else(tmp_path: Path) -> None:
    home = openshape(tmp_path / "home", train_all=[entry(uid) for uid in "abcd"])
    where = home / "Objaverse" / "000-000"
    np.save(where / "b.npy", np.array({"rgb": cloud(0, 9, 3), "text": "b"}, object), allow_pickle=True)
    np.save(where / "c.npy", np.array({"xyz": cloud(0, 9), "text": "c"}, object), allow_pickle=True)
    np.save(where / "d.npy", cloud(0, 9, 3))
    done = convert("objaverse", home, tmp_path / "out", options={"trust_pickles": True})
    found = by_key(done)
    assert "no xyz" in found["b"]
    assert "(N, 3) is needed" in found["c"]
    assert "holds a ndarray" in found["d"]
    assert set(read_back(tmp_path / "out")) == {"a"}


@pytest.mark.parametrize("text", ["{", '{"a": "b.npy"}', '[{"id": "a"}]', "[3]"])
def test_a_list_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    home = openshape(tmp_path / "home", train_all=[entry("a")])
    (home / "meta_data" / "split" / "lvis.json").write_text(text)
    with pytest.raises(DataError, match=r"lvis\.json"):
        convert("objaverse", home, tmp_path / "out", options={"trust_pickles": True})


def test_the_command_asks_for_trust_and_takes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = openshape(tmp_path / "home", train_all=[entry("a"), entry("b")])
    command = ["data", "convert", "objaverse", str(home), "-o", str(tmp_path / "out"), "--quiet"]
    assert main(command) == 2
    assert "trust_pickles=true" in capsys.readouterr().err
    assert main([*command, "--option", "trust_pickles=true"]) == 0
    assert load_index(tmp_path / "out").splits["train"].count == 2


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    h5py = pytest.importorskip("h5py")
    home = tmp_path / "h5" / "main_split_nobg"
    home.mkdir(parents=True)
    for end, columns in (("", 3), ("_augmented25rot", 4)):
        for name in ("training", "test"):
            with h5py.File(home / f"{name}_objectdataset{end}.h5", "w") as file:
                file["data"], file["label"] = cloud(0, 2, 9, columns), np.array([0, 8], np.int64)
    return home


def test_scans_without_background_are_not_given_for_those_with_it(scans: Path, tmp_path: Path) -> None:
    for home in (scans, scans.parent):
        with pytest.raises(DataError, match="main_split_nobg is there, but no main_split"):
            convert("scanobjectnn", home, tmp_path / "out", options={"variant": "OBJ"})
        convert("scanobjectnn", home, tmp_path / home.name, options={"variant": "OBJ", "background": False})
        assert {key: s.values["text"] for key, s in read_back(tmp_path / home.name).items()} == {
            "train/00000": "bag", "train/00001": "shelf", "test/00000": "bag", "test/00001": "shelf"}  # fmt: skip


def test_scans_of_another_width_are_refused(scans: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has shape \(9, 4\), where \(N, 3\) is needed"):
        convert("scanobjectnn", scans, tmp_path / "out", options={"variant": "PB_T25_R", "background": False})


def test_without_h5py_the_extra_is_named(scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(DataError, match=r"pip install 'pairalign\[h5\]'"):
        convert("scanobjectnn", scans, tmp_path / "out", options={"background": False})
