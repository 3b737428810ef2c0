"""Processes that write shards end with the one that started them, however it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest


def running(pid: int) -> bool:
    """Whether a process is there and no zombie, which its new parent has yet to collect."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's list of children")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_packing_process_outlives_the_command(tmp_path: Path, number: int) -> None:
    lines = []
    for i in range(1500):
        np.save(tmp_path / f"{i}.npy", np.arange(600, dtype=np.float32))
        lines.append(json.dumps({"touch": f"{i}.npy", "text": f"sample {i}"}))
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    command = [sys.executable, "-m", "pairalign", "data", "pack", str(tmp_path / "m.jsonl"), str(tmp_path / "out")]
    process = subprocess.Popen([*command, "--shard-samples", "20", "--workers", "2", "--quiet"])
    deadline = time.monotonic() + 120
    while not list((tmp_path / "out").glob("*.tar")) and time.monotonic() < deadline:
        time.sleep(0.01)
    children = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    workers = [pid for pid in children if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]
    assert len(workers) == 2
    process.send_signal(number)
    assert process.wait(60) == -number
    while any(map(running, workers)) and time.monotonic() < deadline + 60:
        time.sleep(0.1)
    assert not any(map(running, workers))
