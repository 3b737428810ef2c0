"""What heeds signals is let go with the run, also where somebody holds the run for long."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from holding import descriptors

from pairalign.align.trainer import fit
from pairalign.processes.stopping import Stopped, Stopping


def listeners() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "pairalign-signals"]


def test_runs_that_are_over_hold_no_descriptor_and_no_thread() -> None:
    before, kept = descriptors(), []
    for _ in range(4):
        with Stopping() as stopping:
            kept.append(stopping)
            assert descriptors() == before + 2
        for thread in listeners():
            thread.join(5)
    assert descriptors() == before
    assert not listeners()


def test_signals_after_the_one_that_stops_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loader worker that ends meanwhile is a signal, too, of which the kernel's handler writes a byte."""
    said: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", said.append)
    before = signal.signal(signal.SIGCHLD, lambda number, frame: None)
    try:
        with Stopping() as stopping, stopping.after_steps():
            os.kill(os.getpid(), signal.SIGTERM)
            deadline = time.monotonic() + 10
            while stopping.number is None and time.monotonic() < deadline:
                time.sleep(0.01)
            for _ in range(5):
                time.sleep(0.02)  # the other thread reads the byte
                os.kill(os.getpid(), signal.SIGCHLD)
        assert stopping.number == signal.SIGTERM
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert not said


class Holding:
    """Signals this process while it is being deleted, where Python ignores what a handler raises."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.2)


def delete_and_work_on() -> None:
    with Stopping():
        held = [Holding()]
        held.clear()
        for _ in range(300):
            time.sleep(0.02)


def test_a_signal_while_something_is_deleted_is_not_lost(capfd: pytest.CaptureFixture[str]) -> None:
    hook = sys.unraisablehook
    with pytest.raises(Stopped):
        delete_and_work_on()
    assert sys.unraisablehook is hook
    assert "ignored" not in capfd.readouterr().err


def test_a_loader_worker_that_had_the_signal_first_is_no_fault_of_the_data() -> None:
    stopping = Stopping()

    def fit_with_a_worker_that_dies(*_: object) -> None:
        stopping.number = signal.SIGTERM
        raise RuntimeError("DataLoader worker (pid(s) 6018) exited unexpectedly")

    stop: Any = SimpleNamespace(runtime=SimpleNamespace(stopping=stopping), number=None)
    trainer: Any = SimpleNamespace(fit=fit_with_a_worker_that_dies)
    task: Any = None
    with pytest.raises(Stopped, match="stopped by SIGTERM") as found:
        fit(trainer, stop, task, Path("last.ckpt"))
    assert found.value.exit_code == 143
