"""A command in a fork of this process, which has everything imported, that signals itself at a chosen moment."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pairalign.cli.main import main


def forked(folder: Path, words: list[str], number: int = 0, event: str = "", count: int = 0) -> int:
    """Exit code of a command in a process of its own, which sends itself a signal at the `count`th `event`."""
    folder.mkdir(exist_ok=True)
    child = os.fork()
    if child == 0:
        code = 99
        try:
            os.chdir(folder)
            log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if number:
                signal_at(number, event, count)
            code = main(words)
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def signal_at(number: int, event: str, count: int) -> None:
    import pairalign.align.trainer as trainer
    import pairalign.files as files
    from pairalign.align.task import StageOne
    from pairalign.finetune.callbacks import Watch
    from pairalign.finetune.module import StageTwo

    left = [count]

    def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), number)
            return function(*arguments, **options)

        return call

    for owner, name in {
        "step": [(StageOne, "training_step"), (StageTwo, "training_step")],
        "line": [(trainer, "append_line")],
        "rename": [(files.os, "replace")],
        "validation": [(StageOne, "validation_step"), (Watch, "measure")],
    }[event]:
        setattr(owner, name, wrapped(getattr(owner, name)))
