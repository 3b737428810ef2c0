"""Shards that webdataset wrote get an index, and are then read, looked at and trained on as our own."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset as wds
from PIL import Image

from pairalign.cli.main import main
from pairalign.core.errors import DataError
from pairalign.data.index import load_index
from pairalign.data.indexing import index_shards
from pairalign.data.pack import pack_pairs
from pairalign.data.shards import read_samples


def jpeg(number: int) -> bytes:
    held = io.BytesIO()
    Image.fromarray(np.full((8, 6, 3), number, np.uint8)).save(held, "JPEG")
    return held.getvalue()


def write(folder: Path, name: str, count: int, **more: Any) -> None:
    folder.mkdir(exist_ok=True)
    with wds.ShardWriter(str(folder / name), maxcount=4, verbose=0) as writer:
        for i in range(count):
            pose = np.arange(3, dtype=np.float32) + i
            writer.write({"__key__": f"part/{i:03d}", "jpg": jpeg(i), "txt": f"thing {i}", "touch.npy": pose, **more})


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    write(tmp_path / "w", "cc-train-%04d.tar", 10)
    write(tmp_path / "w", "cc-val-%04d.tar", 3)
    return tmp_path / "w"


def test_what_webdataset_wrote_is_read_as_webdataset_reads_it(foreign: Path) -> None:
    found = index_shards(foreign, units={"touch": {"unit": "kPa"}}, progress=False)
    assert {name: split.count for name, split in found.index.splits.items()} == {"train": 10, "val": 3}
    assert list(found.index.modalities) == ["jpg", "touch", "txt"]
    touch = found.index.modalities["touch"]
    assert (touch.unit, touch.shape, touch.dtype, touch.range) == ("kPa", (3,), "float32", (0.0, 11.0))
    assert found.index.modalities["jpg"].shape == (8, 6, 3)
    mine = list(read_samples(foreign, "train", ["jpg", "txt", "touch"]))
    theirs = list(wds.WebDataset(str(foreign / "cc-train-{0000..0002}.tar"), shardshuffle=False).decode("pil"))
    assert [s.key for s in mine] == [s["__key__"] for s in theirs]
    for one, other in zip(mine, theirs, strict=True):
        assert np.array_equal(np.asarray(one.values["jpg"]), np.asarray(other["jpg"]))
        assert np.array_equal(one.values["touch"], other["touch.npy"])
        assert one.values["txt"] == other["txt"]


def test_the_caller_says_which_shards_are_which_split(foreign: Path) -> None:
    found = index_shards(foreign, splits={"held": "*-val-*", "rest": "*"}, progress=False)
    assert {name: split.count for name, split in found.index.splits.items()} == {"held": 3, "rest": 10}
    with pytest.raises(DataError, match=r"'cc-train-0000\.tar' is of no split"):
        index_shards(foreign, splits={"held": "*-val-*"}, progress=False, overwrite=True)


@pytest.mark.parametrize(
    ("name", "split"),
    [("000001.tar", "train"), ("x/VALIDATION-01.tar", "val"), ("my_test.tar", "test"), ("constraint-1.tar", "train")],
)
def test_a_split_is_a_word_of_the_name(tmp_path: Path, name: str, split: str) -> None:
    write(tmp_path / "w", "x-%d.tar", 2)
    (tmp_path / "w" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "w" / "x-0.tar").rename(tmp_path / "w" / name)
    assert list(index_shards(tmp_path / "w", progress=False).index.splits) == [split]


def test_capital_extensions_and_several_sides(tmp_path: Path) -> None:
    import tarfile

    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, data in (("1.JPG", jpeg(1)), ("1.text.txt", b"one"), ("1.image.00.jpg", jpeg(2))):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    found = index_shards(tmp_path, progress=False)
    assert {name: info.parts for name, info in found.index.modalities.items()} == {
        "image": ("00",),
        "jpg": ("",),
        "text": ("",),
    }
    sample = next(iter(read_samples(tmp_path, "train", ["jpg", "text", "image"])))
    assert sample.values["jpg"].size == (6, 8)
    assert len(sample.values["image"]["frames"]) == 1


def test_damage_is_named_and_counted_as_training_will(tmp_path: Path) -> None:
    write(tmp_path / "w", "train-%d.tar", 3, **{"depth.npy": b"no array"})
    found = index_shards(tmp_path / "w", progress=False)
    assert [key for key, _ in found.bad] == ["part/000", "part/001", "part/002"]
    assert found.index.splits["train"].count == 3
    bad: list[str] = []
    assert list(read_samples(tmp_path / "w", "train", ["depth"], on_bad=lambda key, _: bad.append(key))) == []
    assert bad == [key for key, _ in found.bad]


def test_a_field_without_a_decoder_is_left_out_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "w", "train-%d.tar", 3, **{"odd.xyz123": b"what"})
    assert main(["data", "index", str(tmp_path / "w"), "--quiet", "--unit", "touch=kPa", "--rate", "touch=10"]) == 0
    printed = capsys.readouterr().out
    assert "left out: field 'odd.xyz123' of 3 samples" in printed
    assert f"index: {tmp_path}/w/index.json" in printed
    assert "odd" not in load_index(tmp_path / "w").modalities
    assert load_index(tmp_path / "w").modalities["touch"].rate == 10


def test_an_index_elsewhere_serves_shards_that_cannot_be_written(foreign: Path, tmp_path: Path) -> None:
    found = index_shards(foreign, out=tmp_path / "mine", progress=False)
    assert not (foreign / "index.json").exists()
    assert found.path == str(tmp_path / "mine" / "index.json")
    assert len(list(read_samples(tmp_path / "mine", "train", ["txt"]))) == 10
    index_shards(f"{foreign}/cc-val-0000.tar", out=tmp_path / "one", progress=False)
    assert [s.values["txt"] for s in read_samples(tmp_path / "one", "val", ["txt"])] == [f"thing {i}" for i in range(3)]


def test_nothing_is_indexed_in_silence(foreign: Path, tmp_path: Path) -> None:
    index_shards(foreign, progress=False)
    with pytest.raises(DataError, match="has an index already"):
        index_shards(foreign, progress=False)
    index_shards(foreign, overwrite=True, progress=False)
    with pytest.raises(DataError, match="holds no shards"):
        index_shards(tmp_path / "none", progress=False)
    with pytest.raises(DataError, match="units name 'tuch'"):
        index_shards(foreign, units={"tuch": {"unit": "kPa"}}, overwrite=True, progress=False)
    with pytest.raises(DataError, match="does not list its files"):
        index_shards("https://host/x", out=tmp_path / "o", progress=False)
    with pytest.raises(DataError, match="cannot be written: give a folder"):
        index_shards("https://host/x-{0..3}.tar", progress=False)
    with pytest.raises(DataError, match=r"\*\*\*.* holds credentials"):
        index_shards("https://anna:hunter2@host/x-{0..3}.tar", out=tmp_path / "o", progress=False)
    with pytest.raises(DataError, match="a command cannot be indexed"):
        index_shards("pipe:cat x.tar", out=tmp_path / "o", progress=False)


def test_a_pack_that_never_finished_is_not_indexed(tmp_path: Path) -> None:
    rows = [{"key": f"k{i}", "text": f"t {i}", "split": "train"} for i in range(9)]
    pack_pairs(rows, tmp_path / "p", progress=False)
    (tmp_path / "p" / "index.json").unlink()
    (tmp_path / "p" / ".pack").mkdir()
    with pytest.raises(DataError, match="never finished"):
        index_shards(tmp_path / "p", progress=False)


def test_an_index_made_anew_says_what_packing_said(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {
            **{"key": f"k{i}", "text": f"t {i}", "touch": np.arange(4, dtype=np.float32) + i, "label": f"c{i % 2}"},
            **{"split": "val" if i % 4 == 0 else "train", "splits": {"by_object": "test" if i % 3 else "train"}},
        }
        for i in range(40)
    ]
    before = pack_pairs(rows, tmp_path / "p", shard_samples=6, progress=False)
    after = index_shards(tmp_path / "p", overwrite=True, progress=False).index
    for name, split in before.every_split.items():  # packing lists shards as they were done, indexing by name
        assert after.every_split[name].count == split.count
        assert set(after.every_split[name].shards) == set(split.shards)
    assert after.every_split.keys() == before.every_split.keys()
    assert (after.content_hash, after.modalities, after.labels) == (
        before.content_hash,
        before.modalities,
        before.labels,
    )
