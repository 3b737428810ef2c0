"""Printing where the reader may leave early, as in `pairalign data pack … | head`, or the disk of a log be full.

Note:
    Python holds back what is printed into a pipe or file, so that the reader's leaving, or a full disk, shows at any
    later print, or only when the process ends, and there as a message and exit code 120 that nobody asked for. What a
    command says on stderr is said as far as it can be: work does not end for it. A command that was started without
    stdin, stdout or stderr would give their numbers to the next files that it opens.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

_refused: list[str] = []  # why stdout could not be written


def say(text: str) -> None:
    """Print; from then on into nothing, if nobody reads any more. Work goes on: a pack is not worth less for it."""
    try:
        print(text)
    except BrokenPipeError:
        stop_printing()
    except OSError as error:
        _refuse(error)


def unread() -> bool:
    """Whether what is printed goes into a pipe that nobody reads any more."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), select.POLLOUT)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    except (AttributeError, OSError, ValueError):  # no descriptor, or a system without poll
        return False


def stop_printing(stream: Any = None) -> None:
    """Let whatever is still to be printed, also what is held back, go nowhere. stream: stdout unless it is another."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, (stream or sys.stdout).fileno())
    except (OSError, ValueError):  # a stream without a descriptor: it has nobody to leave it
        return
    finally:
        os.close(nowhere)


def flush() -> str | None:
    """Hand over what is held back, before Python does at its end; why it cannot be, if nobody has left."""
    return _refused.pop() if unsaid() else None


def unsaid() -> bool:
    """Whether something that was printed cannot be handed over, though nobody has left: `flush` says why."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        stop_printing()
    except OSError as error:
        _refuse(error)
    return bool(_refused)


def _refuse(error: OSError) -> None:
    _refused[:] = [error.strerror or str(error)]
    stop_printing()


@contextmanager
def lasting() -> Iterator[None]:
    """Streams that are there for the whole command, and a stderr that never fails."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    before = sys.stdout, sys.stderr
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = lasting = _Lasting(sys.stderr or sys.stdout)  # type: ignore[assignment]
    try:
        yield
    finally:
        lasting.close()
        sys.stdout, sys.stderr = before


class _Lasting:
    """A stream that drops what cannot be written."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or not."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Hand over what is held back, or not."""
        with suppress(OSError):
            self._stream.flush()

    def close(self) -> None:
        """Let what is held back go nowhere, where it cannot be handed over: Python would end with 120 for it."""
        try:
            self._stream.flush()
        except OSError:
            stop_printing(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
