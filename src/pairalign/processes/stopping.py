"""What SIGINT, SIGTERM and SIGUSR1 do to a run: a whole checkpoint where there is something to keep, and 128 + n.

Outside of training a signal ends the run at once, by `Stopped`. In training it is noted, and the run stops after the
optimizer step.

Note:
    Python runs signal handlers in the main thread and between bytecodes alone, so a process that hangs in a collective
    never heeds one; a thread that the kernel's own handler wakes ends it after `PATIENCE` seconds. A scheduler that
    kills sooner than in 30 s leaves the checkpoint before.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from pairalign.processes.unraised import sent_again

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
PATIENCE = 20.0  # seconds from a signal to an end without a new checkpoint; torchrun and SLURM kill after 30
TOGETHER = 3.0  # seconds in which a second signal is the same wish, as a terminal's and torchrun's


def signal_of(code: int) -> int | None:
    """Which of `SIGNALS` ended a process, by the exit code that Python or its parent gives; None for another end."""
    return next((number for number in SIGNALS if code in (-number, 128 + number)), None)


class Stopped(KeyboardInterrupt):
    """A run was stopped by signal `number`; the process ends with 128 + number."""

    def __init__(self, number: int, kept: str) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; {kept}")
        self.number, self.exit_code, self._kept = number, 128 + number, kept

    def __reduce__(self) -> tuple[Any, ...]:
        return Stopped, (self.number, self._kept)  # a fork sends it to its notebook


class _AtOnce(BaseException):
    """Leaves Lightning's loop; a `KeyboardInterrupt` would make Lightning exit by itself, with 1."""


class Stopping:
    """Heeds signals while it is entered.

    checkpoint: what a message names as kept. number: the signal that came, or None. claim: asked before the message of
    a hung process, with the exit code; false where another process speaks for all. leave: ends the process. saving:
    while it is true a hung process is given all the time it needs.
    """

    def __init__(self, checkpoint: Path | None = None) -> None:
        self.checkpoint, self.saving = checkpoint, False
        self.number: int | None = None
        self.claim: Callable[[int], bool] = lambda code: True
        self.leave: Callable[[int], None] = os._exit
        self._came = 0.0
        self._answer: Literal["stop", "note", "leave"] = "stop"
        self._over = threading.Event()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stopping:
        if threading.current_thread() is not threading.main_thread():
            return self  # only the main thread may
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._wakeup = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._before = {number: signal.getsignal(number) for number in SIGNALS}
        self._again = sent_again(self._ready_again)
        self._again.__enter__()
        self.install()
        threading.Thread(target=self._listen, name="pairalign-signals", daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._before:
            for number, handler in self._before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(self._wakeup)  # before the reader goes
            self._again.__exit__(None, None, None)
            self._before = {}
            self._writer.close()
        self._over.set()

    def install(self) -> None:
        """Be the one who is told of signals, also where a library has put its own handler in the way."""
        for number in self._before:
            signal.signal(number, self._handle)

    @contextmanager
    def after_steps(self) -> Iterator[None]:
        """Note signals instead of raising: the block looks at `number` after each step. A later one raises at once."""
        self._answer = "note"
        try:
            yield
        except (_AtOnce, SystemExit):  # the latter is Lightning's, where it was told first
            if self.number is None:
                raise
            raise self.stopped() from None
        finally:
            self._answer = "stop"

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside of `after_steps`, for long work before the first step: signals end it at once."""
        before = self._answer
        self._answer = "leave" if before == "note" else before
        try:
            yield
        finally:
            self._answer = before

    def stopped(self, number: int | None = None) -> Stopped:
        """The exception that ends the run."""
        return Stopped(number or self.number or signal.SIGINT, self.kept())

    def kept(self) -> str:
        """What there is to go on from."""
        if self.checkpoint is None or not self.checkpoint.exists():
            return "no checkpoint was written yet: the same command starts over"
        return f"{self.checkpoint} is kept: the same command goes on from it"

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again = self.number is not None
        if again and time.monotonic() - self._came < TOGETHER:
            return
        self.number, self._came = self.number or number, time.monotonic()
        if self._answer == "stop":
            raise self.stopped()
        if again or self._answer == "leave":
            raise _AtOnce
        print("\nstopping after this step, then writing the checkpoint; once more to stop at once", file=sys.stderr)

    def _ready_again(self) -> bool:
        if self._answer == "stop":
            self._came = float("-inf")  # the second time is not a second wish
        return self._answer == "stop"

    def _listen(self) -> None:
        with self._reader:  # to the end: of each later signal, a loader worker's end too, the kernel writes a byte
            number = 0
            while number not in SIGNALS:
                data = self._reader.recv(1)
                if not data:
                    return
                number = data[0]
            if self._over.wait(PATIENCE):
                return
            while self.saving:
                if self._over.wait(0.5):
                    return
            if self.claim(128 + number):
                print(f"pairalign: {Stopped(number, self.kept())}; the process hung and was ended", file=sys.stderr)
                sys.stderr.flush()
            self.leave(128 + number)


def leave_signals_to_the_main_process() -> None:
    """For loader workers, which a terminal's Ctrl-C and torchrun's SIGTERM reach too: the main process ends them, once
    it needs no more batches for its last step."""
    signal.set_wakeup_fd(-1)  # inherited by a fork
    for number in SIGNALS:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # of threads to come, too
        threading.Thread(target=_heed_the_main_process, daemon=True).start()


def _heed_the_main_process() -> None:
    parent = os.getppid()
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
