"""Packing: the same bytes however it ran, whole shards or none, and every bad input named."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conftest import heed_ctrl_c
from pairalign.core.errors import DataError
from pairalign.data import write
from pairalign.data.encode import ImageFormat
from pairalign.data.index import INDEX_NAME, load_index
from pairalign.data.made import Made, Stored
from pairalign.data.pack import pack_pairs
from pairalign.data.rows import Row
from pairalign.data.shards import read_samples
from pairalign.data.write import RECORDS, ShardTask, WriteOptions, finished_record, write_shard


def pairs(count: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    return [
        {
            "key": f"k.{i}",
            "image": Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)),
            "force": rng.normal(size=5).astype(np.float32),
            "text": f"push {i}",
            "group": f"g{i % 7}",
            "split": "val" if i % 4 == 3 else "train",
        }
        for i in range(count)
    ]


def contents(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir()) if p.is_file()}


def pack(rows: Any, out: Path, **options: Any) -> Any:
    return pack_pairs(rows, out, progress=False, **options)


def test_plain_webdataset_reads_the_shards(tmp_path: Path) -> None:
    wds = pytest.importorskip("webdataset")
    rows = pairs(12)
    pack(rows, tmp_path / "out", image=ImageFormat("png"), split="train", seed=None, shard_samples=5)
    urls = [str(p) for p in sorted((tmp_path / "out").glob("*.tar"))]
    assert [Path(url).name for url in urls] == [f"train-00000{i}.tar" for i in range(3)]
    found = list(wds.WebDataset(urls, shardshuffle=False).decode("pil"))
    assert len(found) == 12
    for row, sample in zip(rows, found, strict=True):
        np.testing.assert_array_equal(np.asarray(sample["image.png"]), np.asarray(row["image"]))
        np.testing.assert_array_equal(sample["force.npy"], row["force"])
        assert sample["text.txt"] == row["text"]
        assert sample["meta.json"]["group"] == row["group"]


def test_the_same_input_gives_the_same_bytes_with_any_number_of_workers(tmp_path: Path) -> None:
    one = pack(pairs(20), tmp_path / "one", shard_samples=4)
    time.sleep(0.01)
    assert pack(iter(pairs(20)), tmp_path / "iterator", shard_samples=4, seed=0).content_hash == one.content_hash
    assert pack(pairs(20), tmp_path / "two", shard_samples=4, workers=2) == one
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert sum(s.count for s in one.splits["train"].shards) == one.splits["train"].count == 15


def test_the_content_hash_ignores_layout_and_order_but_nothing_else(tmp_path: Path) -> None:
    base = pack(pairs(9), tmp_path / "a", shard_samples=2)
    assert pack(pairs(9), tmp_path / "b", shard_samples=7, seed=5).content_hash == base.content_hash
    changed = pairs(9)
    changed[4]["text"] += "!"
    assert pack(changed, tmp_path / "c").content_hash != base.content_hash
    renamed = pairs(9)
    renamed[4]["key"] = "other"
    assert pack(renamed, tmp_path / "d").content_hash != base.content_hash
    assert pack(pairs(9), tmp_path / "e", split="train").content_hash != base.content_hash


def test_samples_without_a_key_are_numbered_as_given(tmp_path: Path) -> None:
    rows = [{"text": f"push {i}"} for i in range(6)]
    one, two = (pack(rows, tmp_path / str(seed), seed=seed) for seed in (0, 1))
    assert one.content_hash == two.content_hash
    found = {s.key: s.values["text"] for s in read_samples(tmp_path / "0", "train", ["text"])}
    assert found == {f"{i:08d}": f"push {i}" for i in range(6)}


def test_lists_are_shuffled_by_seed_and_iterators_keep_their_order(tmp_path: Path) -> None:
    def order(name: str, rows: Any, **options: Any) -> list[str]:
        pack(rows, tmp_path / name, split="train", **options)
        return [s.key for s in read_samples(tmp_path / name, "train", ["text"])]

    stored = [row["key"] for row in pairs(10)]
    assert order("iterator", iter(pairs(10))) == stored
    assert order("kept", pairs(10), seed=None) == stored
    assert order("a", pairs(10)) != stored
    assert order("b", pairs(10), seed=1) != order("c", pairs(10), seed=0)


class StopError(Exception):
    """Something that ends a pack early."""


def cut(rows: list[dict[str, Any]], after: int, error: BaseException) -> Iterator[dict[str, Any]]:
    yield from rows[:after]
    raise error


def count_written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    written: list[str] = []
    plain = write._write
    monkeypatch.setattr(write, "_write", lambda stream, task: written.append(task.name) or plain(stream, task))
    return written


@pytest.mark.parametrize("error", [StopError(), KeyboardInterrupt()])
def test_an_interrupted_pack_goes_on_and_ends_with_the_same_bytes(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{**row, "split": "train"} for row in pairs(20)]
    pack(iter(rows), tmp_path / "whole", shard_samples=4)
    with pytest.raises(type(error)):
        pack(cut(rows, 14, error), tmp_path / "out", shard_samples=4)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        ".pack",
        *(f"train-00000{i}.tar" for i in range(3)),
    ]
    with pytest.raises(DataError, match="never finished"):
        load_index(tmp_path / "out")
    written = count_written(monkeypatch)
    pack(iter(rows), tmp_path / "out", shard_samples=4)
    assert written == ["train-000003.tar", "train-000004.tar"]
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert not (tmp_path / "out" / ".pack").exists()


def test_only_shards_of_changed_input_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{**row, "split": "train"} for row in pairs(12)]
    with pytest.raises(StopError):
        pack(cut(rows, 12, StopError()), tmp_path / "out", shard_samples=4)
    rows[5] = {**rows[5], "text": "changed"}
    written = count_written(monkeypatch)
    pack(iter(rows[:8]), tmp_path / "out", shard_samples=4)
    assert written == ["train-000001.tar"]
    assert not (tmp_path / "out" / "train-000002.tar").exists()
    assert "changed" in [s.values["text"] for s in read_samples(tmp_path / "out", "train", ["text"])]


def test_a_restart_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pairs(8)
    with pytest.raises(StopError):
        pack(cut(rows, 8, StopError()), tmp_path / "out", shard_samples=2)
    written = count_written(monkeypatch)
    pack(iter(rows), tmp_path / "out", shard_samples=2, resume=False)
    assert len(written) == 4


def test_ctrl_c_of_the_real_command_leaves_whole_shards_only(tmp_path: Path) -> None:
    manifest = tmp_path / "m.jsonl"
    np.save(tmp_path / "f.npy", np.arange(200_000.0))
    rows = [{"key": f"{i}", "force": "f.npy", "text": f"t {i}"} for i in range(4000)]
    manifest.write_text("\n".join(map(json.dumps, rows)))
    out = tmp_path / "out"
    script = (
        "import sys; from pairalign.data.pack import pack_pairs; pack_pairs(sys.argv[1], sys.argv[2], shard_samples=8)"
    )
    command = [sys.executable, "-c", script, manifest, out]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, preexec_fn=heed_ctrl_c)
    while not list(out.glob("*.tar")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) != 0
    left = [p.name for p in out.iterdir()]
    assert INDEX_NAME not in left
    assert not [name for name in left if "partial" in name]
    tars = sorted(out.glob("*.tar"))
    for tar in tars:
        with tarfile.open(tar) as whole:
            assert len(whole.getnames()) == 8 * 3  # meta, force and text
        assert tar.read_bytes().endswith(bytes(1024))
    records = {path.stem for path in (out / ".pack").glob("*.tar.json")}
    assert records >= {tar.name for tar in tars[:-1]}  # the stop may fall between the last shard and its record
    for name in records:
        record = json.loads((out / ".pack" / f"{name}.json").read_text())
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == record["sha256"]


class FullDisk(io.FileIO):
    """A file on a disk with room for 20 kB."""

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > 20_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


def test_a_full_disk_is_one_clear_error_and_leaves_no_half_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"force": np.arange(n, dtype=np.float64), "text": f"{n}"} for n in (100, 200, 300, 6000)]
    plain = Path.open
    monkeypatch.setattr(
        Path, "open", lambda p, mode="r", **k: FullDisk(p, "w") if mode == "wb" else plain(p, mode, **k)
    )
    with pytest.raises(DataError, match=r"shard train-000001\.tar: the disk is full: free space and run the same"):
        pack(rows, tmp_path / "out", shard_samples=2, seed=None)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [".pack", "train-000000.tar"]
    monkeypatch.undo()
    assert pack(rows, tmp_path / "out", shard_samples=2, seed=None).splits["train"].count == 4


def test_a_full_disk_at_the_very_end_leaves_no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr("pairalign.data.index.json.dump", full)
    with pytest.raises(DataError, match="the disk is full"):
        pack(pairs(4), tmp_path / "out")
    assert not [p.name for p in (tmp_path / "out").iterdir() if "index" in p.name]


def bad_samples(tmp_path: Path) -> dict[str, tuple[dict[str, Any], str]]:
    """A bad sample by key, and words of its reason."""
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0junk")
    Image.new("RGB", (4, 4), (9, 9, 9)).save(tmp_path / "blank.png")
    rng = np.random.default_rng(1)
    fine = {
        "image": Image.fromarray(rng.integers(0, 255, (4, 4), dtype=np.uint8)),
        "force": rng.normal(size=3),
    }
    return {
        "nan": ({**fine, "force": np.array([1.0, np.nan])}, "force: holds NaN"),
        "constant": ({**fine, "force": np.full(4, 2.5)}, "force: is constant: all 4 values are 2.5"),
        "empty": ({**fine, "force": np.zeros((0, 3))}, "is empty"),
        "blank": ({**fine, "image": tmp_path / "blank.png"}, "image: is constant"),
        "junk": ({**fine, "image": tmp_path / "cut.jpg"}, "image: the bytes are no valid jpg"),
        "gone": ({**fine, "image": tmp_path / "gone.png"}, r"'gone\.png' cannot be read"),
        "odd": ({**fine, "image": tmp_path / "a.xyz"}, "extension has no decoder"),
        "lazy": ({**fine, "image": _lazy(tmp_path)}, "image: the image cannot be decoded"),
        "half": ({"image": fine["image"]}, "has no 'force'"),
        "space": ({**fine, "force": "  "}, "the text is empty"),
        "meta": ({**fine, "meta": {"when": object()}}, "is no JSON"),
    }


def _lazy(tmp_path: Path) -> Image.Image:
    Image.fromarray(np.arange(10_000, dtype=np.uint8).reshape(100, 100)).save(tmp_path / "lazy.jpg")
    data = (tmp_path / "lazy.jpg").read_bytes()
    (tmp_path / "lazy.jpg").write_bytes(data[: len(data) // 2])
    return Image.open(tmp_path / "lazy.jpg")


def test_every_bad_sample_fails_the_pack_by_its_key_or_is_skipped_and_listed(tmp_path: Path) -> None:
    found = bad_samples(tmp_path)
    fine = [{"key": "fine", "image": np.arange(4), "force": np.arange(3.0)}]
    for key, (sample, words) in found.items():
        with pytest.raises(DataError, match=rf"sample '{key}'.*{words}"):
            pack([*fine, {"key": key, **sample}], tmp_path / key, modalities=["image", "force"], seed=None)
        assert not list((tmp_path / key).glob("*.tar"))
    rows = [*fine, *({"key": key, **sample} for key, (sample, _) in found.items())]
    index = pack(rows, tmp_path / "skip", modalities=["image", "force"], on_bad="skip", shard_samples=3)
    assert {key for key, _ in index.skipped} == set(found)
    assert [s.key for s in read_samples(tmp_path / "skip", "train", ["force"])] == ["fine"]
    assert sorted(p.name for p in (tmp_path / "skip").glob("*.tar")) == [s.name for s in index.splits["train"].shards]


def test_a_key_too_long_for_a_tar_is_one_bad_sample(tmp_path: Path) -> None:
    rows = [{"key": key, "force": np.arange(3.0)} for key in ("a", "k" * 120, "z")]
    with pytest.raises(DataError, match=r"sample 'k+': key 'k+' is too long .* shorten it"):
        pack(rows, tmp_path / "fail", seed=None)
    index = pack(rows, tmp_path / "skip", seed=None, on_bad="skip")
    assert [key for key, _ in index.skipped] == ["k" * 120]
    assert [s.key for s in read_samples(tmp_path / "skip", "train", ["force"])] == ["a", "z"]


def test_records_of_another_format_are_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Row("a", "train", {"force": np.arange(3.0)}, {"split": "train"})
    (tmp_path / RECORDS).mkdir()
    task = ShardTask(tmp_path, "train-000000.tar", [row], WriteOptions())
    with monkeypatch.context() as patched:
        patched.setattr("pairalign.data.write._FORMAT", 1)
        write_shard(task, task.plan())
        assert finished_record(task, task.plan())
    assert finished_record(task, task.plan()) is None


def test_constant_values_pass_where_they_are_allowed(tmp_path: Path) -> None:
    row = {"force": np.zeros(3), "text": "x"}
    assert pack([row], tmp_path / "out", allow_constant=["force"]).splits["train"].count == 1
    background = {"touch": {"value": np.arange(3.0), "background": np.zeros(3)}, "text": "x"}
    assert pack([background], tmp_path / "background").splits["train"].count == 1


@pytest.mark.parametrize(
    ("rows", "options", "words"),
    [
        ([], {}, "nothing to pack"),
        ([{"text": "a"}, 3], {}, "sample 1 is a int"),
        ([{"key": "k", "text": "a"}, {"key": "k", "text": "b"}], {}, "sample 1: key 'k' is used twice"),
        ([{"a.b": "x"}], {}, "modality 'a.b': use letters"),
        ([{"key": "x"}], {}, "no modality is left"),
        ([{"text": "a", "split": "../up"}], {}, r"split '\.\./up': use letters"),
        ([{"text": "a"}], {"split": {"train": 0.5, "val": 0.4}}, "shares that sum to 1"),
        ([{"text": "a"}], {"units": {"tex": {"unit": "1"}}}, "Did you mean 'text'"),
        ([{"text": "a"}], {"units": {"text": {"units": "1"}}}, "Did you mean 'unit'"),
        ([{"text": "a"}], {"allow_constant": ["tex"]}, "Did you mean 'text'"),
        ([{"text": "a", "meta": {"ids": 1}}], {}, "meta holds 'ids'"),
        ([{"text": "a"}], {"workers": 0}, "workers=0"),
        ([{"text": "a"}], {"on_bad": "drop"}, "on_bad='drop'"),
        ([{"text": {"background": "a"}}], {}, "neither a value nor frames"),
        ([{"text": "  "}], {"on_bad": "skip"}, "split 'train' is empty, every sample is bad"),
        ([{"text": "a"}], {"modalities": ["txt"]}, "Did you mean 'text'"),
    ],
)
def test_bad_calls_are_one_clear_error(rows: list[Any], options: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        pack(rows, tmp_path / "out", **options)
    assert not (tmp_path / "out" / INDEX_NAME).exists()


def test_a_finished_folder_is_replaced_only_on_request(tmp_path: Path) -> None:
    pack(pairs(12), tmp_path / "out", shard_samples=2)
    with pytest.raises(DataError, match="already holds a finished pack"):
        pack(pairs(4), tmp_path / "out")
    pack(pairs(4), tmp_path / "out", overwrite=True)
    assert sorted(contents(tmp_path / "out")) == [INDEX_NAME, "train-000000.tar", "val-000000.tar"]


def test_shares_keep_groups_together_and_follow_the_seed(tmp_path: Path) -> None:
    rows = [{"text": f"{i}", "group": f"g{i % 200}"} for i in range(600)]
    index = pack(rows, tmp_path / "a", split={"train": 0.7, "val": 0.3})
    sides: dict[str, set[str]] = {}
    for split in index.splits:
        for sample in read_samples(tmp_path / "a", split, ["text"]):
            sides.setdefault(sample.meta["group"], set()).add(split)
    assert all(len(side) == 1 for side in sides.values())
    share = sum(side == {"val"} for side in sides.values()) / 200
    assert abs(share - 0.3) < 0.1  # three standard errors of 200 draws
    other = pack(rows, tmp_path / "b", split={"train": 0.7, "val": 0.3}, seed=1)
    assert other.splits["val"].shards[0].sha256 != index.splits["val"].shards[0].sha256


def wav(path: Path, rate: int) -> Path:
    with wave.open(str(path), "wb") as stream:
        stream.setparams((1, 2, rate, 0, "NONE", ""))
        stream.writeframes(bytes(range(100)))
    return path


def test_wav_files_state_their_rate_and_must_agree(tmp_path: Path) -> None:
    a, b = {"audio": wav(tmp_path / "a.wav", 8000)}, {"audio": wav(tmp_path / "b.wav", 16000)}
    assert pack([a], tmp_path / "one").modalities["audio"].rate == 8000
    with pytest.raises(DataError, match=r"8000, 16000 Hz.*8000 Hz in sample '00000000', 16000 Hz in sample '00000001'"):
        pack(iter([a, b]), tmp_path / "two")
    with pytest.raises(DataError, match="8000 Hz, units say 44100"):
        pack([a], tmp_path / "three", units={"audio": {"rate": 44100}})


def test_files_are_stored_byte_for_byte(tmp_path: Path) -> None:
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / "a.JPEG", quality=33)
    index = pack([{"image": tmp_path / "a.JPEG"}], tmp_path / "out")
    assert index.modalities["image"].ext == ("jpg",)
    raw = next(read_samples(tmp_path / "out", "train", ["image"], raw=True)).values["image"]
    assert raw == (tmp_path / "a.JPEG").read_bytes()


def test_an_error_of_the_callers_iterator_is_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="theirs"):
        pack(cut(pairs(4), 2, FileNotFoundError("theirs")), tmp_path / "out")


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="is a file"):
        pack(pairs(2), tmp_path / "file")
    with pytest.raises(DataError, match="cannot be written"):
        pack(pairs(2), tmp_path / "file" / "out")


def test_stored_bytes_are_written_as_they_are(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(stream, "JPEG")
    pack([{"image": Stored("JPEG", stream.getvalue())}, {"image": Made(Stored, ("jpg", stream.getvalue()))}], tmp_path)
    assert load_index(tmp_path).modalities["image"].ext == ("jpg",)
    with tarfile.open(next(tmp_path.glob("*.tar"))) as shard:
        kept = [shard.extractfile(m).read() for m in shard if m.name.endswith(".image.jpg")]  # type: ignore[union-attr]
    assert kept == [stream.getvalue()] * 2


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (Stored("jgp", b"x"), r"image: stored bytes of 'jgp': extension has no decoder.*'jpg'"),
        (Stored("png", b"no picture"), "image: the bytes are no valid png"),
    ],
)
def test_stored_bytes_that_cannot_be_read_back_are_named(tmp_path: Path, stored: Stored, message: str) -> None:
    with pytest.raises(DataError, match=message):
        pack([{"key": "a", "image": stored}], tmp_path)


def test_odd_samples_end_no_pack(tmp_path: Path) -> None:
    fine = {"text": "a cup", "force": [1.0, 2.0]}
    odd = {
        "half a caption": {**fine, "text": "nice \ud83d"},
        "half a label": {**fine, "label": "nice \ud83d"},
        "deep": {**fine, "text": {"value": json.loads("[" * 400 + "]" * 400)}},
        "large": {**fine, "force": [10**400]},
        "no frames": {**fine, "force": {"frames": 3}},
        "letters": {**fine, "text": {"frames": "abc"}},
        "file": {**fine, "text": Path("a\0.txt")},
        "x" * 200: fine,
        "half a key \ud83d": fine,
        "": fine,
    }
    rows = [{"key": "good", **fine, "text": "with \0 inside"}, *({"key": key, **row} for key, row in odd.items()), [3]]
    index = pack(rows, tmp_path / "out", on_bad="skip")
    assert index.splits["train"].count == 1
    assert len(index.skipped) == len(odd) + 1
    assert next(read_samples(tmp_path / "out", "train", ["text"])).values["text"] == "with \0 inside"
    for number in range(len(odd)):
        with pytest.raises(DataError, match=r"half a character|key|label|text|force"):
            pack([rows[0], rows[number + 1]], tmp_path / f"{number}", seed=None)


@pytest.mark.parametrize("role", ["group", "session", "label"])
def test_half_a_character_beside_a_sample_makes_it_a_bad_one_before_it_is_drawn_into_a_split(
    role: str, tmp_path: Path
) -> None:
    rows = [{"text": f"this is {n}", role: "nice \ud83d" if n == 3 else f"g{n}"} for n in range(20)]
    index = pack(rows, tmp_path / "out", split={"train": 0.5, "val": 0.5}, on_bad="skip")
    assert [key for key, reason in index.skipped if "half a character" in reason] == ["00000003"]


def test_keys_of_every_kind_are_read_back_as_they_were(tmp_path: Path) -> None:
    keys = ["a.b", "a/b", "../a", "a b", " a", "ключ", "𝄞", "A", "a", "a%2E", "~", "a\nb", "a\0b", "007", "."]
    rows = [{"key": key, "text": f"this is {number}"} for number, key in enumerate([*keys, "x" * 300])]
    index = pack(rows, tmp_path / "out", on_bad="skip")
    found = {sample.key: sample.values["text"] for sample in read_samples(tmp_path / "out", "train", ["text"])}
    assert found == {key: f"this is {number}" for number, key in enumerate(keys)}
    assert [key for key, _ in index.skipped] == ["x" * 300]
