"""A command in a fork of this process, which has everything imported, that signals itself at a chosen moment."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pairalign.cli.main import main


def forked(folder: Path, words: list[str], number: int = 0, event: str = "", count: int = 0) -> int:
    """Exit code of a command in a process of its own, which sends itself a signal at the `count`th `event`."""
    child = fork_command(folder, words, before=lambda: signal_at(number, event, count) if number else None)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def fork_command(
    folder: Path,
    words: Sequence[str],
    environment: Mapping[str, str] | None = None,
    group: int | None = None,
    before: Callable[[], object] = lambda: None,
) -> int:
    """Process id of a fork that runs a command; see `fork`."""
    return fork(lambda: main(list(words)), folder, environment, group, before)


def fork(
    work: Callable[[], int],
    folder: Path,
    environment: Mapping[str, str] | None = None,
    group: int | None = None,
    before: Callable[[], object] = lambda: None,
    name: str = "log",
) -> int:
    """Process id of a fork that works in `folder` and ends with the code that `work` returns.

    group: of processes, that it joins; 0 for one of its own, None for this process's. before: done in the fork first.
    name: of the file there at whose end is what it prints.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        code, begun = 99, False
        try:
            if group is not None:
                os.setpgid(0, group)
            os.chdir(folder)
            os.environ.update(environment or {})
            log = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            signal.signal(signal.SIGINT, signal.default_int_handler)
            before()
            begun = True
            code = work()
        except KeyboardInterrupt:
            code = 99 if begun else 128 + signal.SIGINT  # what comes before the command is not the command's
            if begun:
                traceback.print_exc()
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    if group is not None:
        with suppress(OSError):  # it was quicker, or has ended
            os.setpgid(child, group or child)
    return child


def signal_at(number: int, event: str, count: int) -> None:
    """Send a signal at the `count`th call of what an event names; of "rename:NAME" and "renamed:NAME", before and after
    a file or folder of that name is put into its place; of "unlink:NAME", before one of that name is removed."""
    left = [count]

    def hit() -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), number)

    def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            hit()
            return function(*arguments, **options)

        return call

    kind, _, name = event.partition(":")
    if name:
        import pairalign.files as files

        plain = files.os.replace

        def replace(source: Any, target: Any) -> None:
            ours = Path(target).name == name
            if ours and kind == "rename":
                hit()
            plain(source, target)
            if ours and kind == "renamed":
                hit()

        unlinked = Path.unlink

        def unlink(path: Path, missing_ok: bool = False) -> None:
            if path.name == name and kind == "unlink":
                hit()
            unlinked(path, missing_ok)

        files.os.replace = replace
        Path.unlink = unlink  # type: ignore[method-assign]
        return
    for owner, attribute in _places(event):
        setattr(owner, attribute, wrapped(getattr(owner, attribute)))


def _places(event: str) -> list[tuple[Any, str]]:
    """The functions whose calls are an event."""
    import pairalign.align.trainer as trainer
    import pairalign.evaluate.run as evaluation
    import pairalign.files as files
    import pairalign.finetune.collator as collating
    import pairalign.finetune.describe as describing
    from pairalign.align.task import StageOne
    from pairalign.dormant.significance.random import _Random
    from pairalign.finetune.callbacks import EvaluationCallback
    from pairalign.finetune.module import StageTwo

    return {
        "step": [(StageOne, "training_step"), (StageTwo, "training_step")],
        "line": [(trainer, "append_line")],
        "rename": [(files.os, "replace")],
        "validation": [(StageOne, "validation_step"), (EvaluationCallback, "measure")],
        "pool": [(evaluation, "encode_pool")],
        "report": [(evaluation, "build_report")],
        "calibration": [(collating, "calibration_batches")],
        "matrix": [(_Random, "__getitem__")],
        "answers": [(describing, "answer_all")],
    }[event]
