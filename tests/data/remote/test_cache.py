"""The cache of remote shards: each fetched once whoever asks, never more than its limit, never half a file."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from shard_servers import ShardServer, serving

from pairalign.core.config import AlignConfig, load_config
from pairalign.core.errors import DataError, StorageError
from pairalign.data.index import load_index
from pairalign.data.place import Remote
from pairalign.data.remote.cache import cache_folder, cache_limit, fetch, open_cached, use_cache
from pairalign.data.shards import read_samples


@pytest.fixture
def server(packed: Path, tmp_path: Path) -> Iterator[ShardServer]:
    shutil.copytree(packed, tmp_path / "pairs")
    with serving(tmp_path) as found:
        yield found


def place(server: ShardServer) -> Remote:
    return Remote(f"{server.url}/pairs")


def kept(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.glob("*.tar"))


def asked(server: ShardServer) -> list[str]:
    return sorted(name for name, _ in server.asked if name.endswith(".tar"))


def keys(url: str) -> list[str]:
    return [sample.key for sample in read_samples(url, "train", ["a"])]


def test_processes_share_it_and_each_shard_is_fetched_once(server: ShardServer, packed: Path) -> None:
    for number in range(9):
        server.faults[f"train-{number:06d}.tar"] = ["slow"]
    with multiprocessing.get_context("fork").Pool(3) as pool:
        found = pool.map(keys, [str(place(server).url)] * 3)
    assert found == [keys(str(packed))] * 3
    assert asked(server) == [f"pairs/train-{number:06d}.tar" for number in range(9)]


def test_the_least_recently_used_go_first(server: ShardServer, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = load_index(place(server)).split("train").shards
    monkeypatch.setenv("PAIRALIGN_CACHE_GB", str(3.5 * shards[0].bytes / 2**30))
    for shard in shards[:3]:
        os.close(open_cached(place(server), shard))
        time.sleep(0.01)
    os.close(open_cached(place(server), shards[0]))  # used again
    os.close(open_cached(place(server), shards[3]))
    assert kept(cache) == sorted(f"{shards[n].sha256}.tar" for n in (0, 2, 3))


@pytest.mark.parametrize("gb", ["0", "1e-5"])
def test_a_cache_that_is_too_small_still_gives_every_sample(
    server: ShardServer, packed: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, gb: str
) -> None:
    monkeypatch.setenv("PAIRALIGN_CACHE_GB", gb)
    order = {"shuffle": 40, "seed": 2}
    found = [s.values["a"].tobytes() for s in read_samples(place(server), "train", ["a"], **order)]  # type: ignore[arg-type]
    assert found == [s.values["a"].tobytes() for s in read_samples(packed, "train", ["a"], **order)]  # type: ignore[arg-type]
    assert len(kept(cache)) <= 3  # the last, and what was fetched ahead of it


def test_data_sets_whose_shards_have_the_same_names_do_not_meet(server: ShardServer, packed: Path) -> None:
    from pairalign.data.pack import pack_pairs

    rows = [{"key": f"o{i}", "a": f"other {i}"} for i in range(100)]
    pack_pairs(rows, server.folder / "other", split="train", shard_samples=12, progress=False)
    assert keys(f"{server.url}/pairs") == keys(str(packed))
    assert keys(f"{server.url}/other") == keys(str(server.folder / "other"))


def test_what_lies_there_in_part_is_fetched_again(server: ShardServer, packed: Path, cache: Path) -> None:
    first = load_index(packed).split("train").shards[0]
    cache.mkdir()
    (cache / f"{first.sha256}.tar").write_bytes(b"cut")
    assert keys(place(server).url) == keys(str(packed))


def test_a_process_that_is_killed_leaves_no_half_shard(server: ShardServer, packed: Path, cache: Path) -> None:
    server.faults["train-000000.tar"] = ["stall"]
    code = f"from pairalign.data.shards import read_samples; list(read_samples({place(server).url!r}, 'train', ['a']))"
    process = subprocess.Popen([sys.executable, "-c", code])
    while "pairs/train-000000.tar" not in asked(server):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert keys(place(server).url) == keys(str(packed))
    assert not [path for path in cache.iterdir() if "partial" in path.name]


def test_a_full_disk_is_named(server: ShardServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> Iterator[bytes]:
        yield b"x"
        raise OSError(28, "No space left on device")

    shard = load_index(place(server)).split("train").shards[0]
    monkeypatch.setattr("pairalign.data.remote.cache.stream", full)
    with pytest.raises(StorageError, match="the disk is full"):
        fetch(place(server), shard)


def test_a_folder_that_cannot_be_made_is_named(server: ShardServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIRALIGN_CACHE", "/proc/none")
    with pytest.raises(DataError, match=r"'/proc/none' cannot be made .*set data\.cache"):
        keys(place(server).url)


def test_where_it_is_and_how_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PAIRALIGN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "pairalign" / "shards"
    assert cache_limit() == 20 * 2**30
    use_cache(str(tmp_path / "mine"), 0.5)
    assert (cache_folder(), cache_limit()) == (tmp_path / "mine", 2**29)
    use_cache(None, None)  # the next run in this process names none
    assert (cache_folder(), cache_limit()) == (tmp_path / "pairalign" / "shards", 20 * 2**30)
    for wrong in ("much", "-1", "nan"):
        monkeypatch.setenv("PAIRALIGN_CACHE_GB", wrong)
        with pytest.raises(DataError, match=f"PAIRALIGN_CACHE_GB='{wrong}': give a number"):
            cache_limit()
    monkeypatch.delenv("PAIRALIGN_CACHE_GB")


def test_a_run_says_where_it_is(align_settings: dict[str, object], tmp_path: Path, cache: Path) -> None:
    from pairalign.align.run import align_pairs

    root = Path(align_settings["data"]["root"])  # type: ignore[index]
    with serving(root) as server:
        told = [f"data.root={server.url}", f"data.cache={tmp_path}/mine", "data.cache_gb=1", "train.steps=2"]
        align_pairs(load_config(AlignConfig, align_settings, told), progress=False)
    assert kept(tmp_path / "mine")
    assert not cache.exists()


def test_a_reader_that_ends_early_leaves_no_half_shard(server: ShardServer, cache: Path) -> None:
    server.faults["train-000001.tar"] = ["slow"]
    samples = read_samples(place(server), "train", ["a"])
    next(samples)
    while not (fetching := list(cache.glob(".*.partial*"))):
        time.sleep(0.001)
    samples.close()
    assert fetching
    assert not list(cache.glob(".*.partial*"))


def test_a_lock_that_finds_no_room_is_named(server: ShardServer, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pairalign.data.remote.cache.FileLock.acquire", refused)
    with pytest.raises(StorageError, match=r"/\.locks/.*': the disk is full"):
        keys(place(server).url)
