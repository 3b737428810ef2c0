"""Files of keys and values: equal to the bit, of their own model alone, and never a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pairalign.core.errors import StorageError
from pairalign.sensors import prefix_disk
from pairalign.sensors.prefix_disk import PrefixDisk, Row

CPU = torch.device("cpu")


def row(seed: int = 0, dtype: torch.dtype = torch.bfloat16) -> Row:
    generator = torch.Generator().manual_seed(seed)
    made = [tuple(torch.randn(2, 5, 4, generator=generator).to(dtype) for _ in range(2)) for _ in range(3)]
    return Row(tuple(made), 7)  # type: ignore[arg-type]


def same(one: Row | None, other: Row) -> bool:
    assert one is not None
    pairs = zip(one.layers, other.layers, strict=True)
    return one.ahead == other.ahead and all(a.equal(c) and b.equal(d) for (a, b), (c, d) in pairs)


def test_a_row_comes_back_to_the_bit_to_another_process_of_the_same_model_alone(tmp_path: Path) -> None:
    PrefixDisk(tmp_path, 1, "weights").keep("prompt", row())
    again = PrefixDisk(tmp_path, 1, "weights")
    assert "prompt" in again
    assert same(again.load("prompt", CPU), row())
    for other, key in (("other weights", "prompt"), ("weights", "other prompt"), ("weights", "")):
        disk = PrefixDisk(tmp_path, 1, other)
        assert key not in disk
        assert disk.load(key, CPU) is None


def test_a_damaged_file_is_said_once_removed_and_written_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = PrefixDisk(tmp_path, 1, "weights")
    for key, name in (("a", "bit"), ("b", "cut"), ("c", "swapped")):
        disk.keep(key, row(ord(key)))
        data = bytearray(disk.path(key).read_bytes())
        data[-3] ^= 1
        if name == "swapped":
            data = bytearray(disk.path("d").read_bytes() if disk.path("d").exists() else _whole(disk, "d"))
        disk.path(key).write_bytes(data[:-9] if name == "cut" else data)
        assert disk.load(key, CPU) is None, name
        assert key not in disk
    assert capsys.readouterr().err.count("is damaged") == 1
    disk.keep("a", row(1))
    assert same(disk.load("a", CPU), row(1))


def _whole(disk: PrefixDisk, key: str) -> bytes:
    disk.keep(key, row(9))
    return disk.path(key).read_bytes()


def test_processes_share_what_is_free_in_equal_parts(tmp_path: Path) -> None:
    alone = PrefixDisk(tmp_path, 1, "weights")
    alone.keep("a", row())
    size = alone.path("a").stat().st_size
    assert PrefixDisk(tmp_path, 1, "weights", 4).room == (2**30 - size) // 4
    full = PrefixDisk(tmp_path, (size + row().bytes) / 2**30, "weights", 2)  # half of it is no room for another
    full.keep("b", row(1))
    assert "a" in full
    assert "b" not in full


def test_room_is_kept_and_a_full_disk_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = PrefixDisk(tmp_path, 1, "weights")
    disk.keep("a", row())
    size = disk.path("a").stat().st_size
    assert disk.room == 2**30 - size
    assert PrefixDisk(tmp_path, 1, "weights").room == 2**30 - size
    small = PrefixDisk(tmp_path, (size + 100) / 2**30, "weights")
    small.keep("b", row(1))
    assert "b" not in small

    def full(*args: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(prefix_disk, "save_tensors", full)
    disk.keep("c", row(2))
    disk.keep("d", row(3))
    assert disk.load("c", CPU) is None
    assert capsys.readouterr().err == "prompts before their signals are kept on disk no more: the disk is full\n"
    assert same(disk.load("a", CPU), row())
