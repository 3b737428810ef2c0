"""Printing where the reader may leave early, as in `pairalign data pack … | head`.

Where it bites: Python holds back what is printed into a pipe, so that the reader's leaving shows at any later print, or
only when the process ends, and there as a message and exit code 120 that nobody asked for.
"""

from __future__ import annotations

import os
import select
import sys


def say(text: str) -> None:
    """Print; from then on into nothing, if nobody reads any more. Work goes on: a pack is not worth less for it."""
    try:
        print(text)
    except BrokenPipeError:
        stop_printing()


def unread() -> bool:
    """Whether what is printed goes into a pipe that nobody reads any more."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), select.POLLOUT)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    except (AttributeError, OSError, ValueError):  # no descriptor, or a system without poll
        return False


def stop_printing() -> None:
    """Let whatever is still to be printed, also what is held back, go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, sys.stdout.fileno())
    except (OSError, ValueError):  # a stream without a descriptor: it has nobody to leave it
        return
    finally:
        os.close(nowhere)


def flush() -> None:
    """Hand over what is held back, before Python does at its end."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        stop_printing()
