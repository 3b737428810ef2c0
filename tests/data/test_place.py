"""Where shards are: what a user may write, and what each spelling means."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from pairalign.core.errors import DataError
from pairalign.data.index import load_index
from pairalign.data.pack import pack_pairs
from pairalign.data.place import Remote, find_place, is_remote
from pairalign.data.shards import read_samples


def remote(text: str | Path, root: str | Path = "") -> Remote:
    place = find_place(text, root)
    assert isinstance(place, Remote)
    return place


@pytest.mark.parametrize(
    ("text", "base", "names", "index"),
    [
        ("s3://b/x/", "s3://b/x", (), "s3://b/x/index.json"),
        ("s3://b/x/t-{08..10}.tar", "s3://b/x", ("t-08.tar", "t-09.tar", "t-10.tar"), "s3://b/x/index.json"),
        ("gs://b/{a,b}/t-{0..1}.tar", "gs://b", ("a/t-0.tar", "a/t-1.tar", "b/t-0.tar", "b/t-1.tar"), None),
        ("https://u:p@h/x?sig=1&v=2", "https://u:p@h/x", (), "https://u:p@h/x/index.json?sig=1&v=2"),
        ("https://h/a b/t.tar?sig=1", "https://h/a b", ("t.tar",), "https://h/a b/index.json?sig=1"),
        ("pipe:cat /d/t-{0..1}.tar | tee log", "", ("t-0.tar", "t-1.tar"), "pipe:cat /d/index.json | tee log"),
        ("pipe:curl 'https://h/t.tar?a=b'", "", ("t.tar",), "pipe:curl 'https://h/index.json?a=b'"),
    ],
)
def test_addresses(text: str, base: str, names: tuple[str, ...], index: str | None) -> None:
    place = remote(text)
    assert (place.base, place.names) == (base, names)
    assert index is None or place.file("index.json") == index
    assert pickle.loads(pickle.dumps(place)) == place
    assert hash(place) == hash(remote(text))
    assert is_remote(text)


def test_a_name_that_a_url_would_read_otherwise_is_quoted() -> None:
    assert remote("https://h/x").file("a b#1?.tar") == "https://h/x/a%20b%231%3F.tar"


def test_a_place_is_relative_to_its_root_unless_it_is_an_address() -> None:
    assert find_place("pairs", "/data") == Path("/data/pairs")
    assert find_place("/pairs", "/data") == Path("/pairs")
    assert find_place("file:///data/pairs") == Path("/data/pairs")
    assert find_place("s3://b/x", "/data") == Remote("s3://b/x")
    assert find_place("pairs", "s3://b/x/") == Remote("s3://b/x/pairs")
    assert remote("pairs", "https://h/x?sig=1").file("a.tar") == "https://h/x/pairs/a.tar?sig=1"
    assert find_place(".", "s3://b/x") == Remote("s3://b/x")


def test_an_address_that_became_a_path_is_one_again() -> None:
    assert find_place(Path("s3://b/x")) == Remote("s3://b/x")


def test_names_are_fit_for_files_and_texts_hold_no_credentials() -> None:
    place = remote("https://anna:hunter2@h/data/touch?sig=s3cr3t")
    assert place.name == "touch"
    assert remote("pipe:cat a:b/t-{0..1}.tar").name == "t-0"
    for text in (str(place), repr(place), f"{place}"):
        assert "hunter2" not in text
        assert "s3cr3t" not in text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ftp://h/x", "no ftp://"),
        ("s3://b/x-{0..3}", "let it end with `.tar`"),
        ("s3://b/t-{0..3.tar", "not closed"),
        ("s3://b/t-{1,1}.tar", "names a shard twice"),
        ("pipe:cat everything", r"ends with `\.tar`"),
        ("https://***@h/x", "without its credentials"),
        ("pipe:curl ***", "without its credentials"),
        ("s3://b/t-{0..99999999}.tar", "more than 1,000,000 shards"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(text: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        find_place(text)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place") / "out"
    rows = [{"key": f"k{i}", "text": f"t {i}", "split": "val" if i > 29 else "train"} for i in range(40)]
    pack_pairs(rows, folder, shard_samples=5, seed=None, progress=False)
    return folder


def test_local_shards_named_with_braces_are_those_alone(packed: Path) -> None:
    some = f"{packed}/train-{{000001..000002}}.tar"
    assert [s.key for s in read_samples(some, "train", ["text"])] == [f"k{i}" for i in range(5, 15)]
    whole, index = load_index(packed), load_index(some)
    assert index.split("train").count == 10
    assert index.content_hash != whole.content_hash
    every = load_index(f"{packed}/{{train-{{000000..000005}},val-{{000000..000001}}}}.tar")
    assert every == whole


def test_a_shard_that_the_index_does_not_name_is_refused(packed: Path) -> None:
    with pytest.raises(DataError, match=r"names no shard train-000006\.tar, train-000007\.tar"):
        load_index(f"{packed}/train-{{000004..000007}}.tar")


@pytest.mark.parametrize("name", ["../other.tar", "/etc/x.tar", "a/../../x.tar", "pipe:rm -rf x.tar", "s3://b/x.tar"])
def test_an_index_that_leaves_its_folder_is_refused(packed: Path, tmp_path: Path, name: str) -> None:
    text = (packed / "index.json").read_text().replace("train-000001.tar", name)
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(DataError, match="outside its folder"):
        load_index(tmp_path)
