"""Shards and manifests from a stranger: what they name elsewhere is neither read nor removed."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairalign.cli.main import main
from pairalign.core.errors import DataError
from pairalign.data.index import load_index, shards_at
from pairalign.data.indexing import index_shards
from pairalign.data.manifest import Manifest
from pairalign.data.pack import pack_pairs
from pairalign.data.shards import read_samples

ROWS = [{"a": np.arange(6.0) + n, "b": np.arange(6.0) - n} for n in range(8)]


def told(folder: Path, **facts: Any) -> Path:
    index = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps(index | facts))
    return folder


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    pack_pairs(ROWS, tmp_path / "shards", progress=False)
    return tmp_path / "shards"


@pytest.mark.parametrize("at", ["HOME", "../home", "s3://somebody/else", "http://127.0.0.1:9/x", "file:///etc"])
def test_an_index_may_not_send_its_reader_elsewhere(
    shards: Path, tmp_path: Path, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    def connected(*args: Any) -> None:
        pytest.fail(f"connects to {args}")

    monkeypatch.setattr(socket.socket, "connect", connected)
    shutil.copytree(shards, tmp_path / "home")
    stranger = told(shutil.copytree(shards, tmp_path / "stranger"), at=at.replace("HOME", str(tmp_path / "home")))
    with pytest.raises(DataError, match=r"says that its shards lie elsewhere.*nobody has named|names shards on this"):
        list(read_samples(stranger, "train", ["a", "b"]))


def test_a_place_that_the_user_indexed_or_trusts_is_read(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PAIRALIGN_TRUST", str(tmp_path / "trusted"))
    index_shards(shards, out=tmp_path / "mine", progress=False)
    assert len(list(read_samples(tmp_path / "mine", "train", ["a", "b"]))) == 8
    (tmp_path / "trusted").unlink()  # as on another machine
    with pytest.raises(DataError, match=r"pairalign data index .*mine --trust"):
        list(read_samples(tmp_path / "mine", "train", ["a", "b"]))
    assert main(["data", "index", str(tmp_path / "mine"), "--trust"]) == 0
    assert str(shards) in capsys.readouterr().out
    assert len(list(read_samples(tmp_path / "mine", "train", ["a", "b"]))) == 8


def test_a_place_below_the_index_needs_no_word(shards: Path) -> None:
    (shards / "deep").mkdir()
    for tar in shards.glob("*.tar"):
        tar.rename(shards / "deep" / tar.name)
    told(shards, at="deep")
    assert shards_at(shards, load_index(shards)) == shards / "deep"
    assert len(list(read_samples(shards, "train", ["a", "b"]))) == 8


@pytest.mark.parametrize("name", ["thesis.tex", "mine.tar", "train-000009.tar"])
def test_overwriting_removes_what_a_pack_wrote_and_nothing_else(shards: Path, name: str) -> None:
    (shards / name).write_bytes(b"mine" * 1000)
    index = json.loads((shards / "index.json").read_text())
    extra = {"name": name, "count": 1, "bytes": 4000, "sha256": "0" * 64}
    index["splits"]["val"] = {"count": 1, "shards": [extra]}
    told(shards, splits=index["splits"])
    with pytest.raises(DataError, match="was not written by a pack, and is not replaced"):
        pack_pairs(ROWS, shards, overwrite=True, progress=False)
    assert (shards / name).read_bytes() == b"mine" * 1000
    assert (shards / "train-000000.tar").exists()


def test_records_of_a_stranger_remove_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / ".pack").mkdir(parents=True)
    for name in ("mine.tar", "train-000007.tar"):
        (out / name).write_bytes(b"mine")
        (out / ".pack" / f"{name}.json").write_text("{}")
    (out / ".pack" / "thesis.tex").write_text("mine")
    pack_pairs(ROWS, out, progress=False)
    kept = [out / "mine.tar", out / "train-000007.tar", out / ".pack" / "thesis.tex"]
    assert all(path.read_bytes() == b"mine" for path in kept)
    assert not list((out / ".pack").glob("*.json"))


def test_shards_of_an_earlier_plan_still_go(tmp_path: Path) -> None:
    pack_pairs(ROWS, tmp_path / "out", shard_samples=2, progress=False)
    pack_pairs(ROWS, tmp_path / "out", shard_samples=8, overwrite=True, progress=False)
    assert [path.name for path in (tmp_path / "out").iterdir() if path.suffix == ".tar"] == ["train-000000.tar"]


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """A manifest of two texts in its root, the second by a link out of it."""
    home = tmp_path / "home"
    (home / "images").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    np.save(home / "t.npy", np.arange(6.0))
    (home / "images" / "ok.txt").write_text("hi")
    (tmp_path / "secret" / "key.txt").write_text("top secret")
    (home / "m.jsonl").write_text('{"a": "NAME", "b": "t.npy"}\n')
    return home / "m.jsonl"


def named(manifest: Path, name: str, **options: Any) -> list[dict[str, Any]]:
    manifest.write_text(json.dumps({"a": name, "b": [1, 2]}) + "\n")
    return Manifest(manifest, {"a": "a:path", "b": "b"}, **options).read()


@pytest.mark.parametrize("way", ["a file", "a folder", "a chain"])
def test_a_manifest_follows_no_link_out_of_its_root(manifest: Path, tmp_path: Path, way: str) -> None:
    home, secret = manifest.parent, tmp_path / "secret"
    if way == "a folder":
        (home / "sub").symlink_to(secret)
    else:
        (home / "sub").mkdir()
        (home / "sub" / "key.txt").symlink_to(home / "next.txt" if way == "a chain" else secret / "key.txt")
        (home / "next.txt").symlink_to(os.path.join("..", "secret", "key.txt"))
    with pytest.raises(DataError, match=r"'sub/key.txt' is a link that leaves the root.*--follow-links"):
        named(manifest, "sub/key.txt")
    assert named(manifest, "sub/key.txt", follow_links=True)[0]["a"] == home / "sub" / "key.txt"
    assert named(manifest, "home/sub/key.txt", root=tmp_path)[0]["a"] == home / "sub" / "key.txt"


def test_links_and_absolute_paths_within_the_root_are_read(manifest: Path, tmp_path: Path) -> None:
    home = manifest.parent
    (home / "also.txt").symlink_to(home / "images" / "ok.txt")
    (tmp_path / "door").symlink_to(home)  # the root itself may be reached by a link
    for name in ("also.txt", "images/ok.txt", str(home / "images" / "ok.txt")):
        assert named(manifest, name)[0]["a"].read_text() == "hi"
    assert named(tmp_path / "door" / "m.jsonl", "also.txt")[0]["a"].read_text() == "hi"
    for name in ("../secret/key.txt", str(tmp_path / "secret" / "key.txt")):
        with pytest.raises(DataError, match="leaves the root"):
            named(manifest, name)
