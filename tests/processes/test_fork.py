"""A notebook trains in forks of itself, and gets what they left on disk, or the error that one of them raised."""

from __future__ import annotations

import subprocess
import sys

import pytest

NOTEBOOK = """
import sys
from pathlib import Path
from types import SimpleNamespace

sys.ps1 = ">>> "  # what tells a session that nobody can start again
from pairalign.core.errors import ConfigError
from pairalign.processes.launch import launch

train, left = SimpleNamespace(accelerator="cpu", devices=2, nodes=1), Path(sys.argv[1])

def work(runtime):
    (total,) = runtime.all_sum([runtime.rank + 1.0])
    if runtime.main:
        left.write_text(f"{runtime.world} {total}")
    return "of a fork"

def fail(runtime):
    if runtime.main:
        raise ConfigError("train.lr=-1: give at least 0.")
    runtime.barrier()

print("result", launch(train, work, reload=left.read_text))
try:
    launch(train, fail, reload=left.read_text)
except ConfigError as error:
    print("raised", error)
"""


@pytest.mark.slow
def test_a_notebook_forks(tmp_path: object) -> None:
    command = [sys.executable, "-c", NOTEBOOK, f"{tmp_path}/left"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.splitlines() == ["result 2 3.0", "raised train.lr=-1: give at least 0."], done.stderr
