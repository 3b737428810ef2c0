"""Shards in an S3-compatible bucket: read as local ones are, packed to, indexed."""

from __future__ import annotations

import itertools
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shard_servers import KEYS, ShardServer, bucket, serving, upload

from pairalign.cli.main import main
from pairalign.core.errors import DataError
from pairalign.data.index import load_index
from pairalign.data.indexing import index_shards
from pairalign.data.pack import pack_pairs
from pairalign.data.shards import damaged_shards, read_samples


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Any]]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with bucket() as found:
        yield found


@pytest.fixture
def client(server: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of the bucket, which the environment tells of, empty again afterwards."""
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": server[0]}.items():
        monkeypatch.setenv(name, value)
    yield server[1]
    for name in names(server[1]):
        server[1].delete_object(Bucket="pairs", Key=name)


def names(client: Any, prefix: str = "") -> list[str]:
    return [one["Key"] for one in client.list_objects_v2(Bucket="pairs", Prefix=prefix).get("Contents", [])]


def told(place: Any, **options: Any) -> list[Any]:
    samples = read_samples(place, "train", ["a", "b"], **options)
    return [(s.key, s.values["a"].tobytes(), s.values["b"], s.ids, s.meta, s.position) for s in samples]


def rows(stop: int | None = None) -> Iterator[dict[str, Any]]:
    for i in range(100):
        if i == stop:
            raise KeyboardInterrupt
        yield {"key": f"k{i:03d}", "a": f"first {i}", "b": f"second {i}", "split": "train"}


def test_a_bucket_holds_what_the_folder_holds(client: Any, packed: Path) -> None:
    upload(client, packed, "x/pairs")
    assert load_index("s3://pairs/x/pairs") == load_index(packed)
    for options in ({}, {"shuffle": 30, "seed": 3, "block": 4, "rank": 1, "world_size": 2}, {"skip": 50, "shuffle": 9}):
        assert told("s3://pairs/x/pairs", **options) == told(packed, **options) != []  # type: ignore[arg-type]
    some = "train-{000002..000004}.tar"
    assert told(f"s3://pairs/x/pairs/{some}") == told(f"{packed}/{some}")
    assert damaged_shards("s3://pairs/x/pairs") == {}


def test_what_is_cut_changed_or_gone_is_named(client: Any, packed: Path) -> None:
    upload(client, packed, "pairs")
    data = (packed / "train-000003.tar").read_bytes()
    for bad, reason in ((data[:-700], "it is cut"), (data[:-700] + b"\1" * 700, "SHA-256")):
        client.put_object(Bucket="pairs", Key="pairs/train-000003.tar", Body=bad)
        with pytest.raises(DataError, match=reason) as error:
            told("s3://pairs/pairs")
        assert "s3://pairs/pairs/train-000003.tar" in str(error.value)
    client.delete_object(Bucket="pairs", Key="pairs/train-000003.tar")
    with pytest.raises(DataError, match="there is no such file"):
        told("s3://pairs/pairs")


@pytest.mark.parametrize("place", ["s3://pairs/none", "s3://nowhere/x"])
def test_where_there_is_no_index(client: Any, place: str) -> None:
    with pytest.raises(DataError, match=f"has no '{place}/index.json'"):
        load_index(place)


def test_without_credentials(client: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(DataError, match="credentials"):
        load_index("s3://pairs/none")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")  # as in a notebook, after the error
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with pytest.raises(DataError, match="has no"):
        load_index("s3://pairs/none")


def test_packing_to_a_bucket_is_packing_to_a_folder(client: Any, tmp_path: Path, cache: Path) -> None:
    here = pack_pairs(rows(), tmp_path / "here", shard_samples=12, progress=False)
    there = pack_pairs(rows(), "s3://pairs/there", shard_samples=12, progress=False)
    assert there == here == load_index("s3://pairs/there")
    for path in (tmp_path / "here").glob("*.*"):
        assert client.get_object(Bucket="pairs", Key=f"there/{path.name}")["Body"].read() == path.read_bytes()
    assert not list((cache.parent / "packing").glob("*"))
    with pytest.raises(DataError, match="already holds a finished pack"):
        pack_pairs(rows(), "s3://pairs/there", progress=False)
    again = pack_pairs(itertools.islice(rows(), 20), "s3://pairs/there", progress=False, overwrite=True)
    assert names(client) == ["there/index.json", "there/train-000000.tar"]
    assert load_index("s3://pairs/there") == again


def test_an_interrupted_pack_leaves_no_index_and_goes_on(client: Any, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        pack_pairs(rows(70), "s3://pairs/there", shard_samples=12, progress=False)
    half = names(client)
    assert half == [f"there/train-{n:06d}.tar" for n in range(5)]
    with pytest.raises(DataError, match="packing never finished"):
        load_index("s3://pairs/there")
    client.put_object(Bucket="pairs", Key="there/train-000000.tar", Body=b"")
    with pytest.raises(DataError, match="not there any more: pack again with --restart"):
        pack_pairs(rows(), "s3://pairs/there", shard_samples=12, progress=False)
    found = pack_pairs(rows(), "s3://pairs/there", shard_samples=12, progress=False, resume=False)
    assert found == pack_pairs(rows(), tmp_path / "here", shard_samples=12, progress=False)


def test_a_resumed_pack_sends_only_what_is_missing(client: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        pack_pairs(rows(70), "s3://pairs/there", shard_samples=12, progress=False)
    client.put_object_tagging(
        Bucket="pairs", Key="there/train-000000.tar", Tagging={"TagSet": [{"Key": "first", "Value": "yes"}]}
    )
    pack_pairs(rows(), "s3://pairs/there", shard_samples=12, progress=False)
    assert client.get_object_tagging(Bucket="pairs", Key="there/train-000000.tar")["TagSet"]  # not sent again
    assert load_index("s3://pairs/there").split("train").count == 100


def test_shards_of_an_earlier_plan_are_removed(client: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        pack_pairs(rows(70), "s3://pairs/there", shard_samples=12, progress=False)
    pack_pairs(rows(), "s3://pairs/there", shard_samples=40, workers=2, progress=False)
    assert names(client) == ["there/index.json", *(f"there/train-{n:06d}.tar" for n in range(3))]
    assert len(list(read_samples("s3://pairs/there", "train", ["a"]))) == 100


@pytest.mark.parametrize("place", ["https://host/x", "pipe:cat x.tar", "s3://pairs/x-{0..3}.tar"])
def test_a_place_that_cannot_be_written_is_refused_at_once(client: Any, place: str) -> None:
    with pytest.raises(DataError, match="no place to pack to"):
        pack_pairs(rows(0), place, progress=False)


def test_the_command_line_takes_addresses(client: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text("a,b\n" + "".join(f"first text {i},second text {i}\n" for i in range(20)))
    assert main(["data", "pack", str(manifest), "s3://pairs/cli", "--split", "train", "--quiet"]) == 0
    assert main(["data", "inspect", "s3://pairs/cli", "--quiet", "--out", str(tmp_path / "sheet.png")]) == 0
    assert main(["data", "audit", "s3://pairs/cli", "--quiet"]) in (0, 1)
    assert "cli: 20 samples" in capsys.readouterr().out
    client.delete_object(Bucket="pairs", Key="cli/index.json")
    assert main(["data", "index", "s3://pairs/cli", "--quiet"]) == 0
    assert "index: s3://pairs/cli/index.json" in capsys.readouterr().out


def test_an_index_made_anew_says_the_same(client: Any, packed: Path, tmp_path: Path) -> None:
    before = load_index(packed)
    upload(client, packed, "pairs")
    with pytest.raises(DataError, match="has an index already"):
        index_shards("s3://pairs/pairs", progress=False)
    client.delete_object(Bucket="pairs", Key="pairs/index.json")
    found = index_shards("s3://pairs/pairs", out=tmp_path / "elsewhere", progress=False)
    assert (found.index.content_hash, found.index.splits) == (before.content_hash, before.splits)
    assert (found.index.modalities, found.index.labels) == (before.modalities, before.labels)
    assert names(client, "pairs/index") == []
    assert told(tmp_path / "elsewhere") == told(packed)
    index_shards("s3://pairs/pairs", progress=False)
    assert load_index("s3://pairs/pairs") == before


@pytest.fixture
def faulty(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ShardServer]:
    """An endpoint that answers what s3fs asks for reading, with faults; the bucket is `pairs`."""
    shutil.copytree(packed, tmp_path / "pairs" / "x")
    with serving(tmp_path) as found:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": found.url}.items():
            monkeypatch.setenv(name, value)
        yield found


@pytest.mark.parametrize("faults", [["500"], ["cut", "503", "cut"], ["long"], ["slow"], ["other"]], ids=" ".join)
def test_a_fault_of_the_bucket_that_passes_changes_nothing(
    faulty: ShardServer, packed: Path, faults: list[str]
) -> None:
    faulty.faults["train-000000.tar"] = list(faults)
    assert told("s3://pairs/x") == told(packed)


def test_a_fault_of_the_bucket_that_stays_is_named_after_as_many_attempts_as_were_made(faulty: ShardServer) -> None:
    faulty.faults["train-000000.tar"] = ["500", "for ever"]
    with pytest.raises(DataError, match=r"s3://pairs/x/train-000000\.tar' could not be read in 5 attempts"):
        told("s3://pairs/x", limit=1)
    assert len([name for name, _ in faulty.asked if name.endswith("000000.tar")]) == 5
