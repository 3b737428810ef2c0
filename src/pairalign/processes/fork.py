"""The processes of a run in a notebook, which cannot be started again: forks of it that train and leave files.

Note:
    A fork inherits what the notebook holds, but no accelerator that was used there.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import torch

from pairalign.core.errors import ConfigError


def fork(work: Callable[[], Any], count: int, environment: Mapping[str, str]) -> None:
    """Run `work` in `count` forks whose environment is changed so; raise here what one of them raised."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        raise ConfigError(
            f"train.devices={count}: this notebook has used the GPU already, which its forks cannot then: restart the "
            "kernel and call this first, or run a script."
        )
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe(duplex=False)
    forks = [context.Process(target=_work, args=(work, number, dict(environment), theirs)) for number in range(count)]
    for one in forks:
        one.start()
    theirs.close()
    try:
        for one in forks:
            one.join()
    except KeyboardInterrupt:
        for one in forks:
            if one.pid and one.is_alive():
                os.kill(one.pid, signal.SIGINT)
        for one in forks:
            one.join()
    with suppress(EOFError):  # nobody had anything to say
        raise mine.recv()
    failed = [(n, one.exitcode) for n, one in enumerate(forks) if one.exitcode]
    if failed:
        raise RuntimeError(f"process {failed[0][0]} of {count} ended with exit code {failed[0][1]}.")


def _work(work: Callable[[], Any], number: int, environment: dict[str, str], report: Connection) -> None:
    os.environ.update(environment, LOCAL_RANK=str(number))
    try:
        work()
    except SystemExit:
        raise  # another fork reports
    except BaseException as error:
        try:
            report.send(error)
        except Exception:  # not every error can be sent
            report.send(RuntimeError(f"{type(error).__name__}: {error}"))
        raise SystemExit(1) from None
