"""Processes of one run, which meet as those of torchrun do: forks of this process, which has everything imported.

For tests of what processes do together; how they are started is the subject of others, which start real ones.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from forked import fork

from pairalign.cli.main import main

GLOO_AVERAGES = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 11)
"""Whether FSDP2's gradients are averaged on the CPU; torch 2.8 adds them up there, and runs refuse it."""


def free_port() -> str:
    """A port of this machine that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def meeting(world: int) -> list[dict[str, str]]:
    """What torchrun tells each of `world` processes on this machine."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "TORCHELASTIC_RUN_ID": "test"}
    shared |= {"WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world), "OMP_NUM_THREADS": "1", "GROUP_RANK": "0"}
    return [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(world)]


def in_ranks(work: Callable[[int], int], folder: Path, world: int = 2, limit: float = 600) -> tuple[list[int], str]:
    """Exit codes of `world` processes that each do `work` by rank, and all that they printed; the codes are what `work`
    returns. limit: seconds until they are killed."""
    logs = [f"log-{rank}" for rank in range(world)]
    for name in logs:
        (folder / name).unlink(missing_ok=True)
    started = [
        fork(partial(work, rank), folder, told, name=name)
        for rank, (told, name) in enumerate(zip(meeting(world), logs, strict=True))
    ]
    codes: dict[int, int] = {}
    until = time.monotonic() + limit
    while len(codes) < world:
        for child in (one for one in started if one not in codes):
            if time.monotonic() > until:
                os.kill(child, signal.SIGKILL)
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                codes[child] = os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    return [codes[child] for child in started], "".join((folder / name).read_text() for name in logs)


def command_in_ranks(words: Sequence[str], folder: Path) -> tuple[list[int], str]:
    """The same of a command of pairalign."""
    return in_ranks(lambda rank: main(list(words)), folder)
