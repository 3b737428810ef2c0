"""An interrupt that Python would ignore, because it met a `__del__` or another callback, is sent once more.

Note:
    What a signal handler raises inside of a `__del__`, of a weak reference's callback or of the garbage collector's is
    printed as "Exception ignored", and the program goes on as if nobody had pressed Ctrl-C.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

LATER = 0.05  # seconds, in which the callback is over


@contextmanager
def sent_again(ready: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Send what `KeyboardInterrupt` or `Stopped` Python ignores once more, a moment later, if `ready` then and the
    block is not over. Such a block is for the main thread."""
    before, over = sys.unraisablehook, threading.Event()

    def send(number: int) -> None:
        if not over.is_set() and ready():
            os.kill(os.getpid(), number)

    def hook(told: Any) -> None:
        if not isinstance(told.exc_value, KeyboardInterrupt):
            return before(told)
        timer = threading.Timer(LATER, send, (getattr(told.exc_value, "number", signal.SIGINT),))
        timer.daemon = True  # nothing to wait for where the program ends before
        timer.start()

    sys.unraisablehook = hook
    try:
        yield
    finally:
        over.set()
        sys.unraisablehook = before
