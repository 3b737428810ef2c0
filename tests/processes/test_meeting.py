"""A process that dies while the others meet is not taken for a wrong setting."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta

import pytest
import torch.distributed as dist

from pairalign.core.errors import ConfigError, LostError
from pairalign.processes.meeting import meeting

DIES = """
import os, torch.distributed as dist
from datetime import timedelta
store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
print(store.port, flush=True)
store.wait(["came"], timedelta(seconds=60))
os._exit(9)
"""


def _meet(port: int) -> None:
    with meeting(1, 2, "torchrun"):
        store = dist.TCPStore("127.0.0.1", port, is_master=False, timeout=timedelta(seconds=1))
        store.set("came", "1")
        store.wait(["group"], timedelta(seconds=60))


def test_a_death_meanwhile_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    other = subprocess.Popen([sys.executable, "-c", DIES], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    port = int(other.stdout.readline())
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(port))
    with pytest.raises(LostError, match=r"process 1 of 2 \(torchrun\) lost another one before the run began") as found:
        _meet(port)
    assert other.wait(60) == 9
    assert found.value.exit_code == 70


def test_an_address_where_nobody_is_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "1")
    with pytest.raises(ConfigError, match=r"could not meet the others at 127\.0\.0\.1:1 .*start all of them"):
        _meet(1)
