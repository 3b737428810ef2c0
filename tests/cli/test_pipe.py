"""`pairalign … | head`: whoever reads may leave early."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pairalign.cli import main as command
from pairalign.data.index import load_index


def left_early(*words: object) -> tuple[int, str]:
    """Exit code and messages of a real command whose output nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pairalign", *map(str, words)],
        stdout=writing,
        stderr=subprocess.PIPE,
        env=env,
        text=True,
    )
    os.close(writing)
    return done.returncode, done.stderr


def test_a_pack_is_finished_though_nobody_reads_what_it_prints(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text("\n".join(json.dumps({"force": [i, 1.5], "text": f"push {i}"}) for i in range(3)))
    assert left_early("data", "pack", tmp_path / "m.jsonl", tmp_path / "out", "--quiet") == (0, "")
    assert load_index(tmp_path / "out").splits["train"].count == 3


def test_a_list_that_is_left_early_ends_quietly() -> None:
    assert left_early("encoders", "ls") == (141, "")


def test_a_pipe_that_broke_elsewhere_is_no_quiet_end(monkeypatch: pytest.MonkeyPatch) -> None:
    class Args:
        @staticmethod
        def run(args: object) -> int:
            raise BrokenPipeError("a worker's")

    monkeypatch.setattr(command, "_parse", lambda argv: Args)
    with pytest.raises(BrokenPipeError):
        command.main([])
