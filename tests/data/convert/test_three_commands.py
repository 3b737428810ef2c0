"""Every row of docs/datasets.md: its three commands, as they stand there, on a miniature folder of that data set.

Only paths and sizes change: the towers are open_clip's own classes without weights, and training takes two steps.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from miniature import picture
from test_hub import table
from test_modelnet import SQUARE
from test_objaverse import cloud, openshape, shape
from test_physiclear import RECORDINGS
from test_tvl import hct, ssvtp

from pairalign.cli.main import main
from pairalign.data.convert import known_formats
from pairalign.data.index import load_index

ROOT = Path(__file__).parents[3]
ROWS = [
    re.findall(r"`(pairalign [^`]+)`", line)
    for line in (ROOT / "docs" / "datasets.md").read_text(encoding="utf-8").splitlines()
    if "`pairalign data convert" in line and line.startswith("|")
]
TINY = {  # the recipes' other options stay
    "image": ['options={"config":"tiny-vit"}'],
    "text": ['options={"config":"tiny"}'],
    "touch": ["options.preset=mini", "options.size=32", "options.patch=8"],
    "points": ["options.points=32", "options.channels=4", "options.width=16"],
}
SMALL = ["latent.shared=16", "train.steps=2", "train.batch_size=3", "train.warmup=1", "train.accelerator=cpu"]
SMALL += ["train.precision=32-true", "data.workers=0"]


def tvl(home: Path) -> None:
    hct(home / "hct")
    ssvtp(home / "ssvtp")


def touch_and_go(home: Path) -> None:
    lists: dict[str, list[str]] = {"train": [], "test": [], "train_rough": [], "test_rough": []}
    for number in range(12):
        recording = f"2022051{number % 10}_{number:06d}"
        for frame in range(5):
            name = f"{frame:010d}.jpg"
            for place, part in enumerate(("video_frame", "gelsight_frame")):
                picture(home / "dataset" / recording / part / name, 100 * number + 10 * frame + place)
            split = "test" if frame > 2 else "train"
            lists[split].append(f"{recording}/{name},{(0, 7, 3, 8)[number % 4]}")
            lists[f"{split}_rough"].append(f"{recording}/{name},{number % 2}")
    for name, lines in lists.items():
        (home / f"{name}.txt").write_text("\n".join(lines))


def tacquad(home: Path) -> None:
    lines = []
    for item in range(20):
        for sensor in range(3):
            for frame in range(4):
                for part in ("", "img_"):
                    place = home / "data_indoor" / f"item{item}" / f"{part}{('gelsight', 'digit', 'duragel')[sensor]}"
                    picture(place / f"{frame}.png", 100 * item + 10 * sensor + frame + (part == "img_") * 5)
        lines.append(f'item{item},0,3,0,3,0,3,"Item {item}, {("rough", "smooth")[item % 2]}."')
    (home / "contact_indoor.csv").write_text("\n".join(lines) + "\n")


def touch100k(home: Path) -> None:
    lines = []
    for number in range(30):
        name = f"202205{10 + number // 3}_111110_{number:010d}.jpg"
        picture(home / "vision" / name, 2 * number)
        picture(home / "touch" / name, 2 * number + 1)
        lines.append(json.dumps({"img": name, "sentence_desc": f"Sample {number}.", "phrase_desc": f"hard {number}"}))
    (home / "data_list.json").write_text("\n".join(lines))


def physiclear(home: Path) -> None:
    for place, name in enumerate(RECORDINGS):
        for frame in range(6):
            picture(home / f"physiclear_{name}" / f"{frame:010d}.jpg", 10 * place + frame)
    for split, objects in {"train": ("egg_0", "egg_12", "pen_0"), "test": ("wood_ruler_0", "rug_0")}.items():
        table = {f"physiclear_{name[:-2]}": [f"data/physiclear_{name}"] for name in objects}
        (home / f"{split}_samples.json").write_text(json.dumps(table))


def shapenet(home: Path) -> None:
    (home / "shapenet_pc").mkdir(parents=True)
    taxonomy = [{"synsetId": "02691156", "name": "airplane,plane"}, {"synsetId": "03001627", "name": "chair"}]
    (home / "taxonomy.json").write_text(json.dumps(taxonomy))
    for split, first, count in (("train", 0, 8), ("test", 8, 4)):
        models = [f"{('02691156', '03001627')[n % 2]}-m{n}" for n in range(first, first + count)]
        (home / f"{split}.txt").write_text("".join(f"{model}.npy\n" for model in models))
        for n, model in enumerate(models):
            np.save(home / "shapenet_pc" / f"{model}.npy", cloud(first + n, 3))
            for view in (0, 30):
                picture(home / "rendered_images" / model / f"{model}_r_{view:03d}.png", 50 * first + 2 * n + view)


def objaverse(home: Path) -> None:
    objects = {f"o{n}": shape(n, text=f"thing {n}") for n in range(10)}
    openshape(home, objects)
    entries = [{"id": uid, "group": "g", "dataset": "objaverse", "data_path": f"pc/{uid}.npy"} for uid in objects]
    (home / "split" / "train_all.json").write_text(json.dumps(entries[:6]))
    lvis = [e | {"category": ("mug", "water_bottle")[n % 2]} for n, e in enumerate(entries[6:])]
    (home / "split" / "lvis.json").write_text(json.dumps(lvis))


def cap3d(home: Path) -> None:
    (home / "8192_npy").mkdir(parents=True)
    for number in range(30):
        np.save(home / "8192_npy" / f"u{number}_8192.npy", cloud(number))
    (home / "Cap3D_captions.csv").write_text("".join(f"u{number},thing number {number}\n" for number in range(30)))


def modelnet40(home: Path) -> None:
    for number in range(12):
        name = ("chair", "night_stand")[number % 2]
        path = home / name / ("train" if number < 8 else "test") / f"{name}_{number:04d}.off"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SQUARE.replace("3 1 0", f"3 {1 + number} 0"))


def scanobjectnn(home: Path) -> None:
    h5py = pytest.importorskip("h5py")
    (home / "main_split").mkdir(parents=True)
    for name, count in (("training", 8), ("test", 4)):
        path = home / "main_split" / f"{name}_objectdataset_augmentedrot_scale75.h5"
        with h5py.File(path, "w") as file:
            file["data"] = np.stack([cloud(n, 3) for n in range(count)])
            file["label"] = np.arange(count, dtype=np.int32) % 15


def hub(home: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    sets = {split: table(datasets, first, 9) for split, first in (("train", 0), ("test", 20))}
    sets = {split: rows.rename_columns({"tactile": "gel"}) for split, rows in sets.items()}
    datasets.DatasetDict(sets).save_to_disk(str(home))


FOLDERS: list[Callable[[Path], None]] = [
    tvl, touch_and_go, tacquad, touch100k, physiclear, shapenet, objaverse, cap3d, modelnet40, scanobjectnn, hub,
]  # fmt: skip


def test_every_layout_has_its_row_and_every_row_its_miniature() -> None:
    assert {shlex.split(row[0])[3] for row in ROWS} == set(known_formats())
    assert len(ROWS) == len(FOLDERS)
    assert all(len(row) == 3 for row in ROWS)


def test_every_row_has_its_own_shards_and_its_own_run() -> None:
    for name in ("data.root=", "out="):
        places = [_place(shlex.split(row[1]), name) for row in ROWS]
        assert len(set(places)) == len(ROWS)


def _place(words: list[str], name: str) -> str:
    (found,) = (word.removeprefix(name) for word in words if word.startswith(name))
    return found


@pytest.mark.parametrize("place", range(len(FOLDERS)), ids=[make.__name__ for make in FOLDERS])
def test_from_the_folder_to_the_row_of_a_table(place: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    convert, align, evaluate = (shlex.split(command)[1:] for command in ROWS[place])
    FOLDERS[place](tmp_path / "FOLDER")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")

    assert main([*convert, "--quiet"]) == 0
    shards, out = _place(align, "data.root="), _place(align, "out=")
    index = load_index(tmp_path / shards)
    assert index.source
    assert index.licence
    settings = yaml.safe_load(Path(align[1]).read_text())
    assert set(settings["modalities"]) <= set(index.modalities)

    tiny = [f"modalities.{name}.{option}" for name in settings["modalities"] for option in TINY[name]]
    assert main([*align, *tiny, *SMALL, "--quiet"]) == 0
    assert main([*evaluate, "--quiet"]) == 0
    [written] = (tmp_path / out / "evaluation").glob("*.json")
    check(json.loads(written.read_text()), "--protocol" in evaluate)


def check(result: dict[str, Any], protocol: bool) -> None:
    """A result says of each score how many samples it rests on, its chance and its interval."""
    if protocol:
        assert result["differs"]
        assert all(result["n"].values())
        scores = {entry["name"]: entry["score"] for entry in result["scores"]}
    else:
        ways = [(pair, way, found["retrieval"][way]["R@1"]) for pool in result["pools"].values()
                for pair, found in pool["pairs"].items() for way in ("forward", "backward")]  # fmt: skip
        scores = {f"{pair} {way}": score for pair, way, score in ways}
    assert scores
    for name, score in scores.items():
        assert score["n"] > 0, name
        assert 0 <= score["low"] <= score["value"] <= score["high"] <= 1, name
        assert 0 <= score["chance"] <= 1, name
        assert math.isfinite(score["value"]), name
