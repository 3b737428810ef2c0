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


def printed_to(tmp_path: Path, words: str, *, buffered: bool = True) -> tuple[int, str]:
    """Exit code and messages of a command with such redirections, in a folder with a small manifest."""
    (tmp_path / "m.jsonl").write_text("\n".join(json.dumps({"force": [i, 1.5], "text": f"push {i}"}) for i in range(3)))
    env = {**os.environ} if buffered else {**os.environ, "PYTHONUNBUFFERED": "1"}
    command = f"exec {sys.executable} -m pairalign {words}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=env, capture_output=True, text=True)
    return done.returncode, done.stderr


@pytest.mark.parametrize("buffered", [True, False])
def test_what_is_printed_on_a_full_disk_is_one_line_and_the_work_is_done(tmp_path: Path, buffered: bool) -> None:
    code, said = printed_to(tmp_path, "data pack m.jsonl out --quiet > /dev/full", buffered=buffered)
    assert (code, said.count("\n"), "Traceback" in said) == (2, 1, False), said
    assert "No space left on device" in said
    assert load_index(tmp_path / "out").splits["train"].count == 3
    code, said = printed_to(tmp_path, "encoders ls > /dev/full", buffered=buffered)
    assert (code, said.count("\n"), "Traceback" in said) == (2, 1, False), said


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_command_whose_streams_are_closed_writes_nothing_of_them_into_its_files(tmp_path: Path, closed: str) -> None:
    code, said = printed_to(tmp_path, f"data pack m.jsonl out {closed}")
    assert (code, "Traceback" in said) == (0, False), said
    assert load_index(tmp_path / "out").splits["train"].count == 3
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["index.json", "train-000000.tar"]


def test_messages_on_a_full_disk_end_no_work(tmp_path: Path) -> None:
    assert printed_to(tmp_path, "data pack m.jsonl out 2> /dev/full") == (0, "")  # a bar, and what a manifest holds
    assert load_index(tmp_path / "out").splits["train"].count == 3
    assert printed_to(tmp_path, "data pack m.jsonl out > /dev/full 2>&1") == (2, "")  # it has a finished pack
