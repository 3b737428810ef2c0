"""Reading: each sample exactly once whatever the streams, exact skipping, damage named by shard and key."""

from __future__ import annotations

import dataclasses
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pairalign.core.errors import DataError
from pairalign.data.decode import content_id
from pairalign.data.index import ShardIndex, ShardInfo, SplitInfo, load_index, save_index
from pairalign.data.pack import pack_pairs
from pairalign.data.shards import BadSamples, count_samples, damaged_shards, read_samples, stream_order

RNG = np.random.default_rng(0)


def sample(number: int) -> dict[str, Any]:
    return {
        "key": f"s{number:03d}",
        "image": Image.fromarray(RNG.integers(0, 255, (8, 8, 3), dtype=np.uint8)),
        "touch": {
            "frames": [RNG.normal(size=(3, 4)).astype(np.float32) for _ in range(2)],
            "background": np.zeros((3, 4), np.float32),
            "sensor": "gelsight",
        },
        "text": f"thing {number % 3}",
        "label": f"class {number % 3}",
        "group": f"object {number % 5}",
    }


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards") / "out"
    rows = [{**sample(i), "split": "val" if i % 10 == 9 else "train"} for i in range(50)]
    pack_pairs(rows, folder, shard_samples=8, seed=None, progress=False)
    return folder


def keys(folder: Path, **options: Any) -> list[str]:
    return [s.key for s in read_samples(folder, "train", ["text"], **options)]


def test_values_ids_and_meta_come_back(packed: Path) -> None:
    RNG.bit_generator.state = np.random.default_rng(0).bit_generator.state
    first = next(read_samples(packed, "train", ["touch", "image", "text"]))
    wanted = sample(0)
    assert first.key == "s000"
    assert first.meta == {"label": "class 0", "group": "object 0", "split": "train"}
    assert first.position == 0
    np.testing.assert_array_equal(first.values["touch"]["frames"], wanted["touch"]["frames"])
    np.testing.assert_array_equal(first.values["touch"]["background"], 0)
    assert first.values["touch"]["sensor"] == "gelsight"
    assert first.values["text"] == "thing 0"
    assert first.values["image"].size == (8, 8)
    assert first.ids["text"] == content_id("txt", [b"THING 0"])


def test_without_a_shuffle_the_stored_order_is_kept(packed: Path) -> None:
    assert keys(packed) == [f"s{i:03d}" for i in range(50) if i % 10 != 9]
    assert count_samples(packed, "train") == 45
    assert count_samples(packed, "val") == 5


def test_undecoded_modalities_have_ids_but_no_values(packed: Path) -> None:
    for one, all_ in zip(
        read_samples(packed, "train", ["image", "text"], decode=["text"]),
        read_samples(packed, "train", ["image", "text"]),
        strict=True,
    ):
        assert one.values.keys() == {"text"}
        assert one.ids == all_.ids
    with pytest.raises(DataError, match="decode="):
        next(read_samples(packed, "train", ["text"], decode=["image"]))


def test_raw_gives_the_stored_bytes(packed: Path) -> None:
    with tarfile.open(packed / "train-000000.tar") as tar:
        stored = tar.extractfile("s000.image.jpg")
        assert stored is not None
        assert next(read_samples(packed, "train", ["image"], raw=True)).values["image"] == stored.read()


@pytest.mark.parametrize("shuffle", [0, 7, 1000])
@pytest.mark.parametrize("skip", [0, 1, 13, 45, 60])
def test_skip_goes_on_exactly_where_it_stopped(packed: Path, shuffle: int, skip: int) -> None:
    whole = list(read_samples(packed, "train", ["text"], shuffle=shuffle, seed=3, epoch=2))
    rest = list(read_samples(packed, "train", ["text"], shuffle=shuffle, seed=3, epoch=2, skip=skip))
    assert [(s.key, s.position) for s in rest] == [(s.key, s.position) for s in whole[skip:]]


def test_the_order_follows_from_seed_and_epoch(packed: Path) -> None:
    orders = {(s, e): tuple(keys(packed, shuffle=20, seed=s, epoch=e)) for s in (0, 1) for e in (0, 1)}
    assert len(set(orders.values())) == 4
    assert keys(packed, shuffle=20, seed=1, epoch=1) == list(orders[1, 1])


def fake_index(counts: list[int]) -> ShardIndex:
    shards = tuple(ShardInfo(f"train-{i:06d}.tar", n, 0, "") for i, n in enumerate(counts))
    return ShardIndex({}, {"train": SplitInfo(sum(counts), shards)}, "")


@settings(max_examples=80, deadline=None)
@given(
    counts=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    streams=st.integers(1, 9),
    shuffle=st.sampled_from([0, 1, 5, 10_000]),
    seed=st.integers(0, 2**32),
)
def test_all_streams_together_read_every_sample_exactly_once(
    counts: list[int], streams: int, shuffle: int, seed: int
) -> None:
    index = fake_index(counts)
    parts = [
        stream_order(index, "train", shuffle=shuffle, seed=seed, epoch=0, stream=s, streams=streams).tolist()
        for s in range(streams)
    ]
    together = sorted(tuple(place) for part in parts for place in part)
    assert together == [(shard, place) for shard, count in enumerate(counts) for place in range(count)]
    if len(counts) >= streams:  # whole shards, so that no two workers read the same file
        owners = [{shard for shard, _ in part} for part in parts]
        assert sum(map(len, owners)) == len(set().union(*owners))


def test_a_shuffle_moves_a_sample_by_less_than_its_size_and_a_full_one_mixes_all() -> None:
    index = fake_index([4000])
    order = stream_order(index, "train", shuffle=50, seed=0, epoch=0)[:, 1]
    moved = np.abs(order - np.arange(4000))
    assert 0 < moved.max() <= 50
    assert (moved > 0).mean() > 0.9
    full = stream_order(index, "train", shuffle=4000, seed=0, epoch=0)[:, 1]
    assert abs(np.corrcoef(full, np.arange(4000))[0, 1]) < 0.06  # 4 standard errors of no correlation


def test_ranks_and_workers_are_streams(packed: Path) -> None:
    parts = [
        keys(packed, shuffle=9, rank=rank, world_size=2, worker=worker, workers=2)
        for rank in range(2)
        for worker in range(2)
    ]
    assert sorted(key for part in parts for key in part) == sorted(keys(packed))
    with pytest.raises(DataError, match="stream 4 of 4"):
        keys(packed, rank=2, world_size=2, workers=2)


def test_unknown_splits_and_modalities_get_a_suggestion(packed: Path) -> None:
    with pytest.raises(DataError, match="Did you mean 'train'"):
        next(read_samples(packed, "trian", ["text"]))
    with pytest.raises(DataError, match="Did you mean 'touch'"):
        next(read_samples(packed, "train", ["tuch"]))


def rewrite(folder: Path, change: Callable[[tarfile.TarFile, tarfile.TarInfo, bytes], bytes | None]) -> None:
    """Copy the only shard member by member through `change`, which may drop one or write its own."""
    path = folder / "train-000000.tar"
    members = []
    with tarfile.open(path) as tar:
        for info in tar:
            stream = tar.extractfile(info)
            assert stream is not None
            members.append((info, stream.read()))
    with tarfile.open(path, "w") as tar:
        for info, data in members:
            changed = change(tar, info, data)
            if changed is not None:
                info.size = len(changed)
                tar.addfile(info, io.BytesIO(changed))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    pack_pairs([sample(i) for i in range(6)], tmp_path / "out", seed=None, progress=False)
    return tmp_path / "out"


def claim(folder: Path, **shard: Any) -> None:
    """Let the index say something else of the only shard."""
    index = load_index(folder)
    shards = (dataclasses.replace(index.splits["train"].shards[0], **shard),)
    save_index(dataclasses.replace(index, splits={"train": SplitInfo(shards[0].count, shards)}), folder)


def read(folder: Path, **options: Any) -> list[str]:
    return [s.key for s in read_samples(folder, "train", ["image", "touch"], **options)]


def replace(key: str, field: str, data: bytes | None) -> Callable[..., bytes | None]:
    return lambda tar, info, old: data if info.name == f"{key}.{field}" else old


def nan_array() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([[1.0, np.nan]]))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("field", "data", "words"),
    [
        ("image.jpg", None, "has no 'image'"),
        ("image.jpg", b"junk", r"image\.jpg: the bytes are no valid jpg"),
        ("touch.01.npy", nan_array(), r"touch\.01\.npy: .*NaN"),
        ("meta.json", b"{", r"meta\.json is damaged"),
    ],
)
def test_a_damaged_sample_is_named_or_counted(small: Path, field: str, data: bytes | None, words: str) -> None:
    rewrite(small, replace("s002", field, data))
    claim(small, bytes=(small / "train-000000.tar").stat().st_size)
    with pytest.raises(DataError, match=rf"shard train-000000\.tar, sample 's002': .*{words}"):
        read(small)
    bad = BadSamples(0.2)
    assert read(small, on_bad=bad) == ["s000", "s001", "s003", "s004", "s005"]
    assert list(bad.keys) == ["s002"]
    bad.check(6)
    with pytest.raises(DataError, match=r"1 of 4 samples are damaged.*s002: "):
        bad.check(4)


def test_a_shard_that_was_cut_is_named_wherever_it_was_cut(small: Path) -> None:
    path = small / "train-000000.tar"
    whole = path.read_bytes()
    for cut in (0, 300, 512, 700, 5000, len(whole) // 2, len(whole) - 1024):
        path.write_bytes(whole[:cut])
        claim(small, bytes=len(whole))
        with pytest.raises(DataError, match=rf"train-000000\.tar is truncated: it has {cut} of {len(whole)} bytes"):
            read(small)
        if cut < 6 * 512:  # an index that says so is damaged itself
            continue
        claim(small, bytes=cut)
        with pytest.raises(DataError, match=r"shard train-000000\.tar is truncated"):
            read(small)
    path.write_bytes(whole[:-1030])
    claim(small, bytes=len(whole) - 1030)
    with pytest.raises(DataError, match=r"is truncated inside sample 's005'"):
        read(small)


def test_a_shard_with_another_number_of_samples_is_refused(small: Path) -> None:
    claim(small, count=7)
    with pytest.raises(DataError, match=r"train-000000\.tar holds 6 samples instead of 7"):
        read(small)


def add(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> Callable[..., bytes]:
    def change(tar: tarfile.TarFile, info: tarfile.TarInfo, data: bytes) -> bytes:
        if info.name == "s002.image.jpg":
            extra = tarfile.TarInfo(name)
            extra.type, extra.linkname = kind, link
            tar.addfile(extra)
        return data

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (add("../s002.image.png"), r"member '\.\./s002\.image\.png' has an unsafe name"),
        (add("a/../../x.jpg"), "unsafe name"),
        (add("/etc/x.jpg"), "unsafe name"),
        (add("a\\..\\x.jpg"), "unsafe name"),
        (add("s002.extra.jpg", tarfile.SYMTYPE, "/etc/passwd"), "link or device"),
        (add("s002.extra.jpg", tarfile.LNKTYPE, "s001.image.jpg"), "link or device"),
        (add("s002.extra.jpg", tarfile.CHRTYPE), "link or device"),
        (add("s002.extra.jpg", tarfile.FIFOTYPE), "link or device"),
        (add("../" + "long" * 40 + ".jpg"), "unsafe name"),
    ],
)
def test_an_unsafe_tar_is_refused(small: Path, change: Callable[..., bytes], words: str) -> None:
    rewrite(small, change)
    with pytest.raises(DataError, match=rf"shard train-000000\.tar.*{words}"):
        read(small)


def test_bytes_that_changed_on_disk_are_found_by_their_hash(small: Path) -> None:
    assert damaged_shards(small) == {}
    path = small / "train-000000.tar"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert "SHA-256" in damaged_shards(small)["train-000000.tar"]
    path.unlink()
    assert "missing" in damaged_shards(small)["train-000000.tar"]
    with pytest.raises(DataError, match=r"train-000000\.tar cannot be opened"):
        read(small)


def test_a_tar_by_webdataset_itself_reads_too(tmp_path: Path) -> None:
    wds = pytest.importorskip("webdataset")
    name, long = "train-000000.tar", "folder/" + "k" * 120
    with wds.TarWriter(str(tmp_path / name)) as sink:
        for key in ("first", long):
            sink.write({"__key__": key, "image.npy": np.arange(4.0), "text.txt": f"A {key}", "meta.json": {"ids": 1}})
    size = (tmp_path / name).stat().st_size
    made = pack_pairs([{"image": np.arange(4.0), "text": "x"}], tmp_path / "other", progress=False)
    shards = SplitInfo(2, (ShardInfo(name, 2, size, ""),))
    save_index(dataclasses.replace(made, splits={"train": shards}), tmp_path)
    found = list(read_samples(tmp_path, "train", ["image", "text"]))
    assert [s.key for s in found] == ["first", long]
    np.testing.assert_array_equal(found[1].values["image"], np.arange(4.0))
    assert found[0].ids["text"] == content_id("txt", [b"a first"])
    assert found[0].ids["image"] == found[1].ids["image"]


def test_many_frames_come_back_in_order_of_their_number(tmp_path: Path) -> None:
    frames = [np.array([i, -1]) for i in range(120)]
    pack_pairs([{"touch": frames, "text": "x"}], tmp_path / "out", progress=False)
    values = next(read_samples(tmp_path / "out", "train", ["touch"])).values["touch"]["frames"]
    assert [int(v[0]) for v in values] == list(range(120))


def test_meta_of_other_tools_does_not_disturb(small: Path) -> None:
    first = next(read_samples(small, "train", ["text"]))
    rewrite(small, lambda tar, info, old: json.dumps([1]).encode() if info.name == "s000.meta.json" else old)
    claim(small, bytes=(small / "train-000000.tar").stat().st_size)
    again = next(read_samples(small, "train", ["text"]))
    assert again.meta == {}
    assert again.ids == first.ids  # computed from the bytes, equal to what packing noted
