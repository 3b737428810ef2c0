"""Processes that write shards end with the one that started them, however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from forked import fork_command


def running(pid: int) -> bool:
    """Whether a process is there and no zombie, which its new parent has yet to collect."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def manifest(folder: Path, count: int) -> Path:
    lines = []
    for i in range(count):
        np.save(folder / f"{i}.npy", np.arange(600, dtype=np.float32))
        lines.append(json.dumps({"touch": f"{i}.npy", "text": f"sample {i}"}))
    (folder / "m.jsonl").write_text("\n".join(lines))
    return folder / "m.jsonl"


def workers_of(process: int) -> list[int]:
    children = [int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return [pid for pid in children if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]


def imports_numpy(process: int) -> bool:
    """Whether a process is in the middle of its imports."""
    try:
        return "_multiarray_umath" in Path(f"/proc/{process}/maps").read_text()
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's list of children")
def test_ctrl_c_while_packing_processes_start_is_one_line(tmp_path: Path) -> None:
    words = ["data", "pack", str(manifest(tmp_path, 40)), "out", "--shard-samples", "10", "--workers", "2", "--quiet"]
    command = fork_command(tmp_path / "home", words, group=0)
    deadline = time.monotonic() + 60
    while not any(map(imports_numpy, started := workers_of(command))) and time.monotonic() < deadline:
        time.sleep(0.001)
    os.killpg(command, signal.SIGINT)
    assert os.waitstatus_to_exitcode(os.waitpid(command, 0)[1]) == 130
    said = (tmp_path / "home" / "log").read_text()
    assert "Traceback" not in said
    assert "pairalign: interrupted\n" in said
    assert not any(map(running, started))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's list of children")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_packing_process_outlives_the_command(tmp_path: Path, number: int) -> None:
    command = [sys.executable, "-m", "pairalign", "data", "pack", str(manifest(tmp_path, 1500)), str(tmp_path / "out")]
    process = subprocess.Popen([*command, "--shard-samples", "20", "--workers", "2", "--quiet"])
    deadline = time.monotonic() + 120
    while not list((tmp_path / "out").glob("*.tar")) and time.monotonic() < deadline:
        time.sleep(0.01)
    workers = workers_of(process.pid)
    assert len(workers) == 2
    process.send_signal(number)
    assert process.wait(60) == -number
    while any(map(running, workers)) and time.monotonic() < deadline + 60:
        time.sleep(0.1)
    assert not any(map(running, workers))
