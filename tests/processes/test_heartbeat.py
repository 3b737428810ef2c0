"""A process that dies is named by another one, however early it dies."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
import torch.distributed as dist

from pairalign.processes import heartbeat
from pairalign.processes.heartbeat import LOST, Heartbeat


class Ended(threading.Event):
    """What stands for the end of this process."""

    code: int | None = None

    def __call__(self, code: int) -> None:
        self.code = code
        self.set()


@pytest.mark.parametrize("beats", [0, 1])
def test_a_death_is_named_even_before_its_first_beat(
    beats: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT", 0.02)
    monkeypatch.setattr(heartbeat, "TORN", 0.2)
    server = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=20))
    for beat in range(beats):
        server.set("beat/1", str(beat))
    heart = Heartbeat(server, ("127.0.0.1", server.port), 0, ["one", "other"])
    heart.torn = True
    ended = Ended()
    monkeypatch.setattr(heart, "leave", ended)
    heart.start()
    assert ended.wait(20)
    heart.finish()
    assert ended.code == LOST
    assert "process 1 of 2 (other) was silent" in capfd.readouterr().err
