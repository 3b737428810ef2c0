"""Shards from a web server with and without ranges, over a faulty line: the same samples, or one clear error."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shard_servers import ShardServer, serving

from pairalign.core.errors import DataError
from pairalign.data.remote import cache as caching
from pairalign.data.shards import damaged_shards, read_samples

FIRST = "train-000000.tar"


@pytest.fixture(params=[True, False], ids=["ranges", "no-ranges"])
def server(request: pytest.FixtureRequest, packed: Path, tmp_path: Path) -> Iterator[ShardServer]:
    shutil.copytree(packed, tmp_path / "pairs")
    with serving(tmp_path, ranges=request.param) as found:
        yield found


def told(place: Any, **options: Any) -> list[Any]:
    samples = read_samples(place, "train", ["a", "b"], **options)
    return [(s.key, s.values["a"].tobytes(), s.values["b"], s.ids, s.meta, s.position) for s in samples]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"shuffle": 30, "seed": 3, "epoch": 2},
        {"shuffle": 1000, "seed": 1},
        {"shuffle": 30, "block": 4, "rank": 1, "world_size": 2, "worker": 1, "workers": 2},
        {"shuffle": 30, "skip": 37},
        {"rank": 2, "world_size": 3},
        {"limit": 20},
    ],
)
def test_the_same_samples_in_the_same_order(server: ShardServer, packed: Path, options: dict[str, Any]) -> None:
    assert told(f"{server.url}/pairs", **options) == told(packed, **options) != []


def test_every_shard_is_fetched_once_and_only_those_that_are_needed(server: ShardServer, packed: Path) -> None:
    for epoch in range(2):
        told(f"{server.url}/pairs", shuffle=30, epoch=epoch)
    names = [name for name, _ in server.asked if name.endswith(".tar")]
    assert sorted(names) == sorted(set(names))
    assert len(names) == 9
    time.sleep(0.2)  # what was to be fetched ahead may still look
    server.asked.clear()
    caching.cache_folder().rename(caching.cache_folder().with_name("gone"))
    caching._swept.clear()
    told(f"{server.url}/pairs", skip=90)
    assert {name for name, _ in server.asked if name.endswith(".tar")} == {f"pairs/train-{n:06d}.tar" for n in (7, 8)}


@pytest.mark.parametrize(
    "faults",
    [["cut"], ["cut", "cut", "cut"], ["500", "503", "429"], ["long"], ["slow"], ["short"], ["other"], ["cut", "other"]],
    ids=" ".join,
)
def test_a_fault_that_passes_changes_nothing(server: ShardServer, packed: Path, faults: list[str]) -> None:
    server.faults[FIRST] = list(faults)
    assert told(f"{server.url}/pairs") == told(packed)
    assert damaged_shards(f"{server.url}/pairs") == {}


def test_a_line_that_broke_goes_on_where_it_stopped(server: ShardServer) -> None:
    server.faults[FIRST] = ["cut"]
    told(f"{server.url}/pairs", limit=1)
    ranges = [asked for name, asked in server.asked if name.endswith(FIRST)]
    assert ranges == [None, "bytes=3000-"]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("500", r"5 attempts; the last: HTTP status 500"),
        ("short", r"5 attempts; the last: it ended after \d+ of \d+ bytes: it is cut"),
        ("404", "there is no such file"),
        ("403", r"access is denied \(HTTP 403\)"),
        ("other", "its SHA-256 is not that of the index"),
    ],
)
def test_a_fault_that_stays_is_one_clear_error(server: ShardServer, fault: str, reason: str, cache: Path) -> None:
    server.faults[FIRST] = [fault, "for ever"]
    with pytest.raises(DataError, match=reason) as error:
        told(f"{server.url}/pairs")
    assert f"{server.url}/pairs/{FIRST}" in str(error.value)
    assert error.value.__cause__ is None
    until = time.monotonic() + 5  # what is fetched ahead may be at work
    while any("partial" in path.name for path in cache.iterdir()):
        assert time.monotonic() < until
        time.sleep(0.02)
    assert list(damaged_shards(f"{server.url}/pairs")) == [FIRST]


def test_a_shard_that_was_replaced_is_found(server: ShardServer, packed: Path) -> None:
    shutil.copy(server.folder / "pairs/train-000001.tar", server.folder / "pairs" / FIRST)
    with pytest.raises(DataError, match="SHA-256"):
        told(f"{server.url}/pairs")


def test_credentials_are_sent_and_never_shown(packed: Path, tmp_path: Path) -> None:
    shutil.copytree(packed, tmp_path / "pairs")
    with serving(tmp_path, login="anna:hunter2") as server:
        host = server.url.removeprefix("http://")
        place = f"http://anna:hunter2@{host}/pairs?sig=s3cr3t"
        assert told(place) == told(packed)
        for bad in (f"http://anna:wrong2@{host}/pairs?sig=s3cr3t", f"http://anna:hunter2@{host}/none?sig=s3cr3t"):
            with pytest.raises(DataError) as error:
                told(bad)
            shown = str(error.value) + repr(error.value.__cause__)
            assert not any(secret in shown for secret in ("hunter2", "wrong2", "s3cr3t"))
            assert "***@" in shown


def test_a_netrc_file_is_read(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login anna password hunter2")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with serving(packed.parent, login="anna:hunter2") as server:
        assert told(f"{server.url}/{packed.name}", limit=3) == told(packed, limit=3)


def test_a_server_that_is_not_there(packed: Path) -> None:
    with pytest.raises(DataError, match=r"127\.0\.0\.1:9/pairs/index\.json' could not be read in 5 attempts"):
        told("http://127.0.0.1:9/pairs")


def test_a_connection_that_stalls_is_given_up(
    server: ShardServer, packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pairalign.data.remote.opening.STALL", 0.3)
    server.faults[FIRST] = ["stall", "stall"]
    assert told(f"{server.url}/pairs", limit=3) == told(packed, limit=3)


def test_a_damaged_index_is_named(server: ShardServer) -> None:
    (server.folder / "pairs/index.json").write_text('{"version": 1')
    with pytest.raises(DataError, match=r"http.*index\.json' is damaged"):
        told(f"{server.url}/pairs")


def test_a_pipe_runs_the_users_command_for_every_shard(packed: Path) -> None:
    names = "train-{000000..000008}.tar"
    assert told(f"pipe:cat {packed}/{names}", shuffle=20) == told(packed, shuffle=20)


def test_a_pipe_that_fails_tells_its_status_and_no_secret(packed: Path) -> None:
    with pytest.raises(DataError, match="the command ended with status 3") as error:
        told(f"pipe:TOKEN=s3cr3t sh -c 'exit 3' {packed}/train-{{000000..000008}}.tar")
    assert "s3cr3t" not in str(error.value)


def test_a_pipe_without_an_index_says_how_it_is_asked_for(packed: Path, tmp_path: Path) -> None:
    shutil.copytree(packed, tmp_path / "bare")
    (tmp_path / "bare" / "index.json").unlink()
    with pytest.raises(DataError, match=r"also run with index\.json in the place of train-000000\.tar"):
        told(f"pipe:cat {tmp_path}/bare/train-{{000000..000008}}.tar 2>/dev/null")


def test_damaged_samples_are_those_of_the_folder(tmp_path: Path) -> None:
    import webdataset as wds

    from pairalign.data.indexing import index_shards

    (tmp_path / "w").mkdir()
    with wds.ShardWriter(str(tmp_path / "w" / "train-%d.tar"), maxcount=7, verbose=0) as writer:
        for i in range(30):
            writer.write({"__key__": f"k{i}", "a.json": b"{" if i % 4 == 0 else b"[1]", "b.txt": f"text {i}"})
    index_shards(tmp_path / "w", progress=False)
    found = []
    with serving(tmp_path) as server:
        for place in (f"{server.url}/w", tmp_path / "w"):
            bad: list[tuple[str, str]] = []
            samples = read_samples(place, "train", ["a"], shuffle=9, on_bad=lambda *entry: bad.append(entry))  # noqa: B023
            found.append(([(s.key, s.position) for s in samples], bad))
    assert found[0] == found[1]
    assert len(found[0][1]) == 8


def test_an_index_gives_no_commands(packed: Path, tmp_path: Path) -> None:
    text = (packed / "index.json").read_text()
    for at, reason in (("pipe:touch it.tar", "only a user may give"),):
        (tmp_path / "index.json").write_text(text.replace('"version": 1', f'"version": 1, "at": "{at}"'))
        with pytest.raises(DataError, match=reason):
            told(tmp_path)
