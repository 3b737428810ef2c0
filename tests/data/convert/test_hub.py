"""Data sets of the package `datasets`: saved, parquet, image folders; bytes untouched and nothing loaded at once."""

from __future__ import annotations

import importlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from miniature import convert, cut, picture, read_back
from PIL import Image

from pairalign.cli.main import main
from pairalign.core.errors import DataError
from pairalign.data.convert import find_format
from pairalign.data.convert.hub_rows import open_splits, state_of

COLUMNS = "image=photo,touch=tactile,text=caption,force=force,material=material"


@pytest.fixture
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package, with its cache in a folder of the test."""
    package = pytest.importorskip("datasets")
    monkeypatch.setattr(package.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    package.disable_progress_bars()
    return package


def image_bytes(seed: int, kind: str = "JPEG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def table(package: Any, first: int, count: int = 4) -> Any:
    """Rows with two images, a caption, a force, a class; row 1 has no caption, row 2 a cut image."""
    rows = range(first, first + count)
    photos = [{"bytes": image_bytes(2 * row), "path": "photo.webp"} for row in rows]  # a name that tells a lie
    photos[2]["bytes"] = photos[2]["bytes"][:-200]
    captions = [f"It is number {row}." for row in rows]
    captions[1] = "  "
    features = package.Features(
        photo=package.Image(),
        tactile=package.Image(),
        caption=package.Value("string"),
        force=package.Sequence(package.Value("float32")),
        material=package.ClassLabel(names=["wood", "glass"]),
        object=package.Value("string"),
        odd={"a": package.Value("string")},
    )
    columns = {
        "photo": photos,
        "tactile": [{"bytes": image_bytes(2 * row + 1, "PNG"), "path": None} for row in rows],
        "caption": captions,
        "force": [[0.5 * row, 1.5, -2.0] for row in rows],
        "material": [row % 2 for row in rows],
        "object": [f"o{row % 3}" for row in rows],
        "odd": [{"a": "x"} for _ in rows],
    }
    return package.Dataset.from_dict(columns, features=features)


@pytest.fixture(params=["saved", "parquet"])
def folder(request: pytest.FixtureRequest, datasets: Any, tmp_path: Path) -> Path:
    """The same two splits in either form."""
    splits = {"train": table(datasets, 0), "test": table(datasets, 10, 3)}
    home = tmp_path / "set"
    if request.param == "saved":
        datasets.DatasetDict(splits).save_to_disk(str(home))
    else:
        (home / "data").mkdir(parents=True)
        for name, data in splits.items():
            data.to_parquet(home / "data" / f"{name}-00000-of-00001.parquet")
    return home


def members(out: Path) -> dict[str, bytes]:
    found = {}
    for path in out.glob("*.tar"):
        with tarfile.open(path) as shard:
            found |= {member.name: shard.extractfile(member).read() for member in shard}  # type: ignore[union-attr]
    return found


def test_cells_of_every_kind_and_what_is_left_out(folder: Path, tmp_path: Path) -> None:
    done = convert("hub", folder, tmp_path / "out", options={"columns": COLUMNS, "group": "object"})
    found = read_back(tmp_path / "out")
    assert set(found) == {"train/00000000", "train/00000003", "test/00000000"}
    assert done.report["reasons"] == {"text": 2, "image": 2}
    assert done.report["splits"]["train"] == 2
    sample = found["train/00000003"]
    assert sample.values["text"] == "It is number 3."
    assert sample.values["material"] == "glass"
    assert sample.values["force"].tolist() == [1.5, 1.5, -2.0]
    assert sample.values["force"].dtype == np.float32
    assert sample.meta["group"] == "o0"


def test_images_are_the_bytes_of_the_table(folder: Path, tmp_path: Path) -> None:
    convert("hub", folder, tmp_path / "out", options={"columns": COLUMNS})
    stored = members(tmp_path / "out")
    assert stored["train%2F00000003.image.jpg"] == image_bytes(6)
    assert stored["train%2F00000003.touch.png"] == image_bytes(7, "PNG")
    assert stored["test%2F00000000.image.jpg"] == image_bytes(20)


def test_another_process_writes_the_same_shards(datasets: Any, tmp_path: Path) -> None:
    table(datasets, 0).add_column("all", ["x"] * 4).save_to_disk(str(tmp_path / "set"))
    options = {"columns": "image=photo,text=object", "key": "caption", "label": "material", "group": "all"}
    one = convert("hub", tmp_path / "set", tmp_path / "one", options=options)
    two = convert("hub", tmp_path / "set", tmp_path / "two", options=options, workers=2)
    assert one.index == two.index
    assert members(tmp_path / "one") == members(tmp_path / "two")
    assert one.index.labels == ("glass", "wood")
    assert set(read_back(tmp_path / "two")) == {"It is number 0.", "It is number 3."}
    assert any("key '  ' is empty" in reason for _, reason in one.index.skipped)


def test_a_key_that_comes_twice_is_left_out(folder: Path, tmp_path: Path) -> None:
    done = convert("hub", folder, tmp_path / "out", options={"columns": "touch=tactile,text=object", "key": "object"})
    assert done.report["reasons"] == {"duplicate key": 4}
    assert set(read_back(tmp_path / "out")) == {"o0", "o1", "o2"}


def test_groups_stay_whole(folder: Path, tmp_path: Path) -> None:
    convert("hub", folder, tmp_path / "out", options={"columns": "touch=tactile,text=object", "group": "object"})
    sides: dict[str, set[str]] = {}
    for part in ("train", "val", "test"):
        for sample in read_back(tmp_path / "out", f"by_group/{part}").values():
            sides.setdefault(sample.meta["group"], set()).add(part)
    assert sides.keys() == {"o0", "o1", "o2"}
    assert all(len(parts) == 1 for parts in sides.values())


def test_images_are_reduced_on_request_only(folder: Path, tmp_path: Path) -> None:
    options = {"columns": "touch=tactile,text=object"}
    assert convert("hub", folder, tmp_path / "out", options=options, resize=8).index.modalities["touch"].shape == (
        8,
        11,
        3,
    )
    assert convert("hub", folder, tmp_path / "all", options=options, resize=12).index.modalities["touch"].ext == (
        "png",
    )


def test_one_split_and_formats_that_shards_do_not_hold(datasets: Any, tmp_path: Path) -> None:
    cells = [{"bytes": data, "path": None} for data in (image_bytes(0, "BMP"), b"no image at all")] + [None]
    data = datasets.Dataset.from_dict({"image": cells, "n": [1, 2, 3]}, features=datasets.Features(
        image=datasets.Image(), n=datasets.Value("int64")))  # fmt: skip
    data.save_to_disk(str(tmp_path / "set"))
    done = convert("hub", tmp_path / "set", tmp_path / "out", options={"columns": "image=image,count=n"})
    found = read_back(tmp_path / "out")
    assert list(found) == ["train/00000000"]
    assert found["train/00000000"].values["count"].tolist() == [1]
    assert sorted(reason for _, reason in done.index.skipped)[0].startswith("image: 15 bytes are no image")
    assert sorted(reason for _, reason in done.index.skipped)[1] == "image: the cell is empty."


def test_an_image_folder_with_metadata(datasets: Any, tmp_path: Path) -> None:
    home = tmp_path / "set" / "train"
    names = ["12.jpg", "120.jpg", "cut.jpg"]
    for seed, name in enumerate(names):
        picture(home / name, seed)
    cut(home / "cut.jpg")
    lines = [json.dumps({"file_name": name, "caption": f"a {name}"}) for name in names]
    (home / "metadata.jsonl").write_text("\n".join(lines))
    done = convert("hub", tmp_path / "set", tmp_path / "out", options={"columns": "image=image,text=caption"})
    stored = members(tmp_path / "out")
    by_text = {sample.values["text"]: key for key, sample in read_back(tmp_path / "out").items()}
    assert by_text.keys() == {"a 12.jpg", "a 120.jpg"}
    for name in names[:2]:
        key = by_text[f"a {name}"].replace("/", "%2F")
        assert stored[f"{key}.image.jpg"] == (home / name).read_bytes()
    assert done.report["reasons"] == {"image": 1}


def test_a_path_that_leaves_the_folder_is_refused(datasets: Any, tmp_path: Path) -> None:
    picture(tmp_path / "secret.jpg", 0)
    picture(tmp_path / "set" / "kept.jpg", 1)
    cells = [{"bytes": None, "path": str(tmp_path / "secret.jpg")}, {"bytes": None, "path": "kept.jpg"}]
    features = datasets.Features(image={"bytes": datasets.Value("binary"), "path": datasets.Value("string")})
    datasets.Dataset.from_dict({"image": cells}, features=features).save_to_disk(str(tmp_path / "set"))
    done = convert("hub", tmp_path / "set", tmp_path / "out", options={"columns": "image=image"})
    assert [(key, "leaves the folder" in reason) for key, reason in done.index.skipped] == [("train/00000000", True)]
    assert members(tmp_path / "out")["train%2F00000001.image.jpg"] == (tmp_path / "set" / "kept.jpg").read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"such as columns='photo=photo,tactile=tactile'.*material, object\."),
        ({"columns": "image"}, "'image' is no modality=column"),
        ({"columns": "image=photo,image=tactile"}, "comes twice"),
        ({"columns": "image=foto"}, "no column 'foto'. Did you mean 'photo'"),
        ({"columns": "image=odd"}, "'odd' is"),
        ({"columns": "image=photo", "group": "objekt"}, "option group.*Did you mean 'object'"),
        ({"columns": "image=photo", "label": "force"}, "is no key, group or label"),
    ],
)
def test_a_wrong_option_is_named(datasets: Any, tmp_path: Path, options: dict[str, str], message: str) -> None:
    table(datasets, 0).save_to_disk(str(tmp_path / "set"))
    with pytest.raises(DataError, match=message):
        convert("hub", tmp_path / "set", tmp_path / "out", options=options)
    assert not (tmp_path / "out").exists()


def test_a_changed_folder_is_opened_anew(datasets: Any, tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"text": ["a"]}).save_to_disk(str(tmp_path / "set"))
    before = state_of(tmp_path / "set")
    assert open_splits(tmp_path / "set", before) is open_splits(tmp_path / "set", before)
    datasets.Dataset.from_dict({"text": ["a", "b"]}).save_to_disk(str(tmp_path / "set"))
    after = state_of(tmp_path / "set")
    assert before != after
    assert len(open_splits(tmp_path / "set", after)["train"]) == 2


def test_a_damaged_folder_is_named(datasets: Any, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(DataError, match="'set' cannot be read by datasets"):
        convert("hub", tmp_path / "set", tmp_path / "out", options={"columns": "image=image"})


def test_the_command_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["data", "convert", "hub", str(folder), "-o", str(tmp_path / "out"), "--quiet"]
    assert main([*arguments, "--option", "columns=touch=tactile,text=object", "--option", "group=object"]) == 0
    assert "7 samples converted" in capsys.readouterr().out


def test_without_the_package_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find_format("hub")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "dataset_dict.json").write_text("{}")

    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(DataError, match=r"pip install 'pairalign\[hub\]'"):
        convert("hub", tmp_path / "set", tmp_path / "out", options={"columns": "image=image"})
