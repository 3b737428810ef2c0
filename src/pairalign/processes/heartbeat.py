"""Each process of a run says every second that it lives, and hears whether the others do.

A process that is killed leaves the others waiting in a collective, some backends for ever. Here one of them says which
it was, and all end. One that fails by itself says why, alone, and the others end with its exit code and say nothing.

Note:
    A process is dead when it was silent for `SILENT` seconds; one that is stopped by a debugger, too.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from subprocess import Popen
from typing import Any

from pairalign.core.exits import LOST as LOST

BEAT = 1.0
SILENT = 45.0  # a process may hold Python's lock for long, in one huge read
TORN = 6.0  # the same once a connection broke, which a death does and a long read does not
GRACE = 5.0  # for a process to end by itself after another failed


class Heartbeat(threading.Thread):
    """Of process `rank` among `names`, over a `store` of torch.distributed that no other thread uses, at `address`.

    names: how each process is called in the message of its death. children: processes that this one started, by rank.
    """

    def __init__(
        self,
        store: Any,
        address: tuple[str, int],
        rank: int,
        names: Sequence[str],
        children: Mapping[int, Popen[bytes]] | None = None,
    ) -> None:
        super().__init__(name="pairalign-heartbeat", daemon=True)
        self.store, self.address, self.rank, self.names, self.children = store, address, rank, names, children or {}
        self.world, self.torn = len(names), False
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._heard: tuple[bytes, float] | None = None  # of the next process: its beat, and when it was new

    def run(self) -> None:
        """Beat, and listen to the next process, until `finish`."""
        beat, lost = 0, 0
        while not self._over.wait(BEAT):
            beat += 1
            try:
                with self._lock:
                    self.store.set(f"beat/{self.rank}", str(beat))
                    failed = self._failed()
                    dead = None if failed else self._dead()
                lost = 0
            except Exception:  # torch raises several kinds, none of them public
                lost += 1
                failed, dead = None, (0, "cannot be reached") if lost > 3 or self._store_is_gone() else None
            if dead and not self._over.is_set():
                self._end_for(*dead)
            if failed and not self._over.wait(GRACE):
                self.leave(failed[1])

    def claim(self, code: int) -> bool:
        """Whether this process is the first to fail, with exit code `code`, and speaks for all."""
        try:
            with self._lock:
                mine = f"{self.rank} {code}".encode()
                return bool(self.store.compare_set("failed", "", mine) == mine)
        except Exception:
            return True

    def failed(self) -> int | None:
        """Exit code of the process that failed first, waiting for its word where a connection broke."""
        deadline = time.monotonic() + 2 * TORN
        while time.monotonic() < deadline:
            try:
                with self._lock:
                    found = self._failed()
            except Exception:
                found = None
            if found:
                return found[1]
            if not self.torn:
                return None
            time.sleep(BEAT / 4)
        return None

    def leaving(self) -> None:
        """Tell the others that this process has done its work: it may be gone soon, and is not dead."""
        with self._lock:
            self.store.set(f"done/{self.rank}", "1")

    def finish(self, *, failed: bool = False) -> None:
        """Stop; after a failure not before the others could read of it, since the store may go with this process."""
        self._over.set()
        if failed:
            self._wait_for_others()

    def _store_is_gone(self) -> bool:
        """Whether nobody listens where process 0 kept the store: asked without torch, which prints a page each time."""
        try:
            with socket.create_connection(self.address, 5):
                return False
        except OSError:
            return True

    def _failed(self) -> tuple[int, int] | None:
        if not self.store.check(["failed"]):
            return None
        rank, code = map(int, self.store.get("failed").split())
        self.store.set(f"read/{self.rank}", "1")
        return rank, code

    def _dead(self) -> tuple[int, str] | None:
        for rank, child in self.children.items():
            code = child.poll()
            if code is not None and not self.store.check([f"done/{rank}"]):
                return rank, f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        other = (self.rank + 1) % self.world
        key, now = f"beat/{other}", time.monotonic()
        beat = self.store.get(key) if self.store.check([key]) else b""  # it may die before its first
        if self._heard is None or self._heard[0] != beat:
            self._heard = beat, now
        silent = now - self._heard[1]
        if self.store.check([f"done/{other}"]):
            return None
        return (other, f"was silent for {silent:.0f} s") if silent > (TORN if self.torn else SILENT) else None

    def _end_for(self, rank: int, how: str) -> None:
        if self.claim(LOST):
            print(
                f"pairalign: process {rank} of {self.world} ({self.names[rank]}) {how}, so the others end; the last "
                "checkpoint is whole: the same command goes on from it.",
                file=sys.stderr,
                flush=True,
            )
        self.leave(LOST)

    def leave(self, code: int) -> None:
        """End this process from whatever thread, once the others could read why."""
        self._wait_for_others()
        os._exit(code)

    def _wait_for_others(self) -> None:
        if self.rank:
            return
        keys = [f"read/{rank}" for rank in range(1, self.world) if self._alive(rank)]
        deadline = time.monotonic() + 3 * BEAT
        while time.monotonic() < deadline:
            try:
                with self._lock:
                    if self.store.check(keys):
                        return
            except Exception:
                return
            time.sleep(BEAT / 10)

    def _alive(self, rank: int) -> bool:
        return rank not in self.children or self.children[rank].poll() is None
