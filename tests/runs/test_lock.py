"""Who writes in a place has it for itself, and leaves no lock behind."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from occupied import held
from small_disk import fill, small_disk

from pairalign.core.errors import StorageError
from pairalign.runs.lock import alone, alone_at_out, hold


def test_a_second_one_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    out = tmp_path / "a" / "out"
    with held(out) as process:
        said = rf"out='.*out': another run is at work there \(process {process}\)"
        with pytest.raises(StorageError, match=said), alone(out):
            pytest.fail("two at once")
    with alone(out):  # the lock died with its holder, which was killed
        pass
    assert list((tmp_path / "a").iterdir()) == []


def test_the_same_place_by_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    with held(tmp_path / "real"):
        for name in ("link", "real", "./link/../real"):
            with pytest.raises(StorageError), alone(name):
                pass


def test_what_a_holder_calls_and_starts_may_ask_again(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with alone(out), alone(out), held(out):
        assert (tmp_path / ".out.lock").read_text() == str(os.getpid())
    assert list(tmp_path.iterdir()) == []
    with held(out), pytest.raises(StorageError), alone(out):
        pass


def test_another_thread_is_another_one(tmp_path: Path) -> None:
    said: list[str] = []

    def second() -> None:
        try:
            with alone(tmp_path / "out"):
                said.append("two at once")
        except StorageError as error:
            said.append(str(error))

    with alone(tmp_path / "out"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert "another run is at work there" in said[0]


def test_one_that_waits_comes_after_the_other(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with alone(tmp_path / "out", wait=True):
            order.append("second")

    with alone(tmp_path / "out"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_folders_that_were_made_for_the_lock_alone_go_again(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing was written"), alone(tmp_path / "a" / "b" / "out"):
        raise ValueError("nothing was written")
    assert list(tmp_path.iterdir()) == []


def test_a_function_has_its_out_for_itself(tmp_path: Path) -> None:
    @alone_at_out
    def work(value: int, out: Path = tmp_path / "out") -> int:
        with pytest.raises(StorageError), hold(out.with_name(f".{out.name}.lock"), "x"):
            pass
        return value

    assert work(3) == work(value=3, out=tmp_path / "other") == 3
    with held(tmp_path / "out"), pytest.raises(StorageError):
        work(3)


def test_a_full_disk_keeps_nobody_from_holding_and_a_read_only_one_is_not_guarded(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1) as disk:
        filler = fill(disk)
        with hold(disk / ".lock", "out"), alone(disk / "out"), held(disk / "other"):
            unknown = pytest.raises(StorageError, match="process unknown")  # its number found no room
            with unknown, alone(disk / "other"):
                pass
        filler.unlink()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with hold(disk / ".lock", "out"), alone(disk / "out"):
            pass


def test_where_nothing_can_be_written_beside_it_the_lock_lies_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a disk's own folder; one that has to be new or empty is not taken for somebody else's."""
    from pairalign.demo import run as demo

    monkeypatch.setattr("pairalign.runs.lock.os.access", lambda path, mode: Path(path) != tmp_path)
    monkeypatch.setattr(demo, "make_world", lambda *args, **options: pytest.fail("it has begun"))
    (tmp_path / "disk").mkdir()
    with alone(tmp_path / "disk"):
        assert [path.name for path in tmp_path.rglob("*")] == ["disk", ".lock"]
    with pytest.raises(pytest.fail.Exception, match="it has begun"):
        demo.run_demo(tmp_path / "disk", progress=False)
    assert [path.name for path in tmp_path.rglob("*")] == ["disk"]


def test_of_many_threads_that_ask_at_once_one_is_let_in_at_a_time(tmp_path: Path) -> None:
    inside, most, start = set[int](), list[int](), threading.Barrier(16)

    def enter(number: int) -> None:
        start.wait()
        for _ in range(5):
            with alone(tmp_path / "place", wait=True):
                inside.add(number)
                most.append(len(inside))
                time.sleep(0.001)
                inside.discard(number)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(enter, range(16)))
    assert most == [1] * 80
    assert not list(tmp_path.iterdir())
