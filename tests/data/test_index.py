"""The index survives a round trip, and every way of being unusable has its own error."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from pairalign.core.errors import DataError
from pairalign.data.index import (
    INDEX_NAME,
    ModalityInfo,
    ShardIndex,
    ShardInfo,
    SplitInfo,
    load_index,
    save_index,
)
from pairalign.data.pack import pack_pairs


@pytest.fixture
def index() -> ShardIndex:
    return ShardIndex(
        modalities={
            "touch": ModalityInfo(
                *(("npy",), ("00", "01"), "kPa", 50.0, ("time",)), dtype="float32", shape=(None, 3), range=(-1.0, 2.5)
            ),
            "text": ModalityInfo(("txt",)),
        },
        splits={
            "train": SplitInfo(3, (ShardInfo("train-000000.tar", 3, 10240, "ab"),)),
            "val": SplitInfo(0, ()),
        },
        content_hash="cd",
        source="a lab",
        licence="MIT",
        synthetic=True,
        labels=("cup", "mug"),
        skipped=(("k1", "is constant"),),
        created_by="pairalign 0",
    )


def test_a_saved_index_loads_equal(index: ShardIndex, tmp_path: Path) -> None:
    save_index(index, tmp_path)
    assert load_index(tmp_path) == index
    assert [path.name for path in tmp_path.iterdir()] == [INDEX_NAME]


def test_a_missing_folder_a_foreign_folder_and_an_unfinished_pack_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        load_index(tmp_path / "nowhere")
    with pytest.raises(DataError, match="is no shard folder"):
        load_index(tmp_path)
    (tmp_path / "train-000000.tar").touch()
    with pytest.raises(DataError, match="never finished"):
        load_index(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["", "[1]", "{}", '{"version": 1}', '{"version": 1, "modalities": {"a": {"exts": 1}}, "splits": {}}'],
)
def test_a_damaged_index_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / INDEX_NAME).write_text(text)
    with pytest.raises(DataError, match=r"index\.json.*damaged"):
        load_index(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"count": 4}, "told to hold 4 samples, its shards hold others"),
        (
            {"shards": [{"name": "a.tar", "count": 3, "bytes": 1000, "sha256": ""}]},
            "told to hold 3 samples in 1000 bytes",
        ),
        ({"shards": [{"name": "a.tar", "count": 10**21, "bytes": 9, "sha256": ""}]}, "in 9 bytes"),
        ({"shards": [{"name": "a.tar", "count": "3", "bytes": 10240, "sha256": ""}]}, "count is '3'"),
        ({"shards": [{"name": "\ud800.tar", "count": 3, "bytes": 10240, "sha256": ""}]}, "surrogates"),
    ],
)
def test_an_index_that_cannot_be_true_is_damaged(
    change: dict[str, object], words: str, index: ShardIndex, tmp_path: Path
) -> None:
    save_index(index, tmp_path)
    values = json.loads((tmp_path / INDEX_NAME).read_text())
    values["splits"]["train"] |= change
    (tmp_path / INDEX_NAME).write_text(json.dumps(values))
    with pytest.raises(DataError, match=rf"index\.json.*damaged.*{words}"):
        load_index(tmp_path)


def test_an_unknown_key_is_damage_and_a_newer_version_asks_for_an_upgrade(index: ShardIndex, tmp_path: Path) -> None:
    save_index(index, tmp_path)
    values = json.loads((tmp_path / INDEX_NAME).read_text())
    (tmp_path / INDEX_NAME).write_text(json.dumps(values | {"surprise": 1}))
    with pytest.raises(DataError, match="surprise"):
        load_index(tmp_path)
    (tmp_path / INDEX_NAME).write_text(json.dumps(values | {"version": 99}))
    with pytest.raises(DataError, match=r"version 99.*upgrade"):
        load_index(tmp_path)


def test_unknown_names_get_a_suggestion_and_an_empty_split_is_an_error(index: ShardIndex) -> None:
    assert index.split("train").count == 3
    with pytest.raises(DataError, match="Did you mean 'train'"):
        index.split("trian")
    with pytest.raises(DataError, match=r"split 'val'.*is empty"):
        index.split("val")
    with pytest.raises(DataError, match="Did you mean 'touch'"):
        index.require(["text", "tuch"])


def test_a_packed_index_describes_its_data_and_holds_no_absolute_path(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    samples = [
        {
            "force": rng.normal(size=(5 + i, 3)).astype(np.float32),
            "text": f"push {i}",
            "label": {"hard": i % 2},
        }
        for i in range(4)
    ]
    units = {"force": {"unit": "N", "rate": 100, "axes": ["time", "axis"]}}
    index = pack_pairs(samples, tmp_path / "out", units=units, licence="CC0", origin="bench", progress=False)
    force = index.modalities["force"]
    everything = np.concatenate([s["force"] for s in samples])
    assert (force.unit, force.rate, force.axes, force.dtype) == ("N", 100, ("time", "axis"), "float32")
    assert force.shape == (None, 3)
    assert force.range == (everything.min(), everything.max())
    assert index.modalities["text"].range is None
    assert index.labels == ("hard=0", "hard=1")
    assert (index.licence, index.source, index.synthetic) == ("CC0", "bench", False)
    assert load_index(tmp_path / "out") == index
    assert not re.search(r'"/|\\\\', (tmp_path / "out" / INDEX_NAME).read_text())
