"""The section `disk` of bench/faults.py knows a file that is half there, and a command that said too little."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pairalign.data.pack import pack_pairs

BENCH = Path(__file__).parents[2] / "bench"
pytestmark = pytest.mark.skipif(not BENCH.exists(), reason="bench/ is not part of an installed package")
FULL = "pairalign: 'run/last.ckpt': the disk is full: free space and run the same command again.\n"


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BENCH))
    from reliability import disk

    yield disk
    for name in [name for name in sys.modules if name.partition(".")[0] == "reliability"]:
        del sys.modules[name]


def shards(path: Path) -> None:
    rows = [{"key": str(n), "text": f"a cup {n}"} for n in range(9)]
    pack_pairs(rows, path.parent, split="train", progress=False)
    (path.parent / "train-000000.tar").rename(path)


WRITERS: dict[str, Callable[[Path], object]] = {
    "a.json": lambda path: path.write_text(json.dumps({"seed": 3, "runs": list(range(99))})),
    "a.jsonl": lambda path: path.write_text('{"step": 1}\n{"step": 2}\n'),
    "a.safetensors": lambda path: save_file({"x": torch.ones(99)}, path),
    "a.ckpt": lambda path: torch.save({"x": torch.ones(99)}, path),
    "a.npy": lambda path: np.save(path, np.ones(99)),
    "a.tar": shards,
    "a.html": lambda path: path.write_text("<html><body>" + "report " * 30 + "</body></html>\n"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_half_a_file_is_found(disk: ModuleType, tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    assert disk.half_written(tmp_path) is None
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2 + 3])
    assert f"{name} cannot be read" in str(disk.half_written(tmp_path))
    (tmp_path / name).rename(tmp_path / f".{name}.partial-1-here")
    assert "is left" in str(disk.half_written(tmp_path))


@pytest.mark.parametrize(
    ("ran", "wrong"),
    [
        ((2, FULL, []), None),
        ((2, "device: cpu\n" + FULL, []), None),
        ((None, FULL, []), "hung"),
        ((-7, "", []), "exit code -7"),
        ((1, "Traceback (most recent call last)", []), "exit code 1"),
        ((2, "Traceback (most recent call last)\n" + FULL, []), "said"),
        ((2, FULL + FULL, []), "said"),
        ((2, "pairalign: shards are damaged.\n", []), "said"),
        ((2, FULL.replace("run/last.ckpt", "a file"), []), "names no file"),
        ((2, FULL, [17]), r"processes \[17\] are left"),
    ],
)
def test_a_command_that_said_too_little_is_found(
    disk: ModuleType, ran: tuple[int | None, str, list[int]], wrong: str | None
) -> None:
    found = disk._badly_said(disk.Verb("align", ("align",)), disk.Ran(*ran))
    assert found is None if wrong is None else re.match(wrong, str(found))
