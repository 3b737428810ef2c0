"""What heeds signals is let go with the run, also where somebody holds the run for long."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import pytest
from holding import descriptors

from pairalign.processes.stopping import Stopping


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
