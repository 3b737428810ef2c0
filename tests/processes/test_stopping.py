"""What heeds signals is let go with the run, also where somebody holds the run for long."""

from __future__ import annotations

import threading

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
