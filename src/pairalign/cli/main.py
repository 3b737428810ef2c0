"""`pairalign`: reads the command line, runs one verb, prints a deliberate error as one clean line.

Each verb lives in its own file with `register(subparsers)`.

Note:
    Module level stays free of torch, so that `pairalign --help` answers at once; a verb imports what it needs when it
    runs.
"""

from __future__ import annotations

import argparse
import re
import signal
import sys
from collections.abc import Sequence
from typing import Any

from pairalign import __version__
from pairalign.cli.answer import answering
from pairalign.cli.completion import complete
from pairalign.cli.parser import Parser
from pairalign.cli.pipe import flush, lasting, stop_printing, unread, unsaid
from pairalign.core.errors import PairalignError
from pairalign.core.exits import BY_SIGNAL, DONE, WRONG
from pairalign.core.notice import quietly
from pairalign.core.secrets import hide
from pairalign.processes.unraised import sent_again


def build_parser() -> argparse.ArgumentParser:
    """The whole command line; every verb sets `run`, a function from the parsed arguments to an exit code."""
    from pairalign.cli import (
        ablate,
        align,
        ask,
        completion,
        data,
        demo,
        describe,
        encoders,
        env,
        evaluate,
        export,
        init,
        plan,
        push,
        recompose,
        schema,
        score,
        sequence,
        translate,
        try_pack,
    )

    parser = Parser(prog="pairalign", description="Give a pretrained multimodal LLM a new sense, from pairs only.")
    parser.add_argument("--version", action="version", version=f"pairalign {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for verb in (
        init,
        demo,
        encoders,
        data,
        plan,
        align,
        evaluate,
        ablate,
        translate,
        score,
        recompose,
        sequence,
        export,
        push,
        ask,
        try_pack,
        describe,
        env,
        completion,
        schema,
    ):
        verb.register(verbs)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns one of `core.exits.EXITS`."""
    with lasting(), sent_again():
        try:
            return _printed(_run(argv))
        except SystemExit as end:  # argparse has printed its help, or what is wrong
            raise SystemExit(_printed(end.code)) from None
        finally:
            flush()


def _printed(code: Any) -> Any:
    """The exit code, once what was printed is where it should be."""
    refused = flush()
    if refused is not None:
        print(f"pairalign: what it prints cannot be written ({refused}): give stdout another file.", file=sys.stderr)
    return code if refused is None else code or WRONG


def _run(argv: Sequence[str] | None) -> int:
    try:
        args = _parse(argv)
        with quietly(getattr(args, "quiet", False)), answering(args):
            return int(args.run(args) or DONE)
    except BrokenPipeError:  # a verb that has work left to do prints by `pipe.say`
        if not unread():
            raise
        stop_printing()
        return BY_SIGNAL + signal.SIGPIPE
    except PairalignError as error:
        print(f"pairalign: {hide(str(error))}", file=sys.stderr)
        return error.exit_code
    except Exception as error:
        if isinstance(error, OSError) and not error.filename and unsaid():
            return WRONG
        text = _explained(error)
        if text is None:
            raise
        print(f"pairalign: {text}", file=sys.stderr)
        return WRONG
    except KeyboardInterrupt as error:
        print(f"pairalign: {str(error) or 'interrupted'}", file=sys.stderr)
        return int(getattr(error, "exit_code", BY_SIGNAL + signal.SIGINT))


def _explained(error: Exception) -> str | None:
    """One line on an error that is no fault of ours, else `None`: a line of an encoder's author, a file that the system
    refuses, memory that is not there."""
    from pairalign.core.author import reason_of, where_of
    from pairalign.files import DISK_FULL, storage_error

    where = where_of(error)
    if where is not None:
        return f"{where}: {reason_of(error)}"
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return str(storage_error(error, error.filename or "a file"))
    if isinstance(error, OSError) and error.filename:
        return f"{str(error.filename)!r}: {str(error.strerror or error).lower()}: check that path."
    if isinstance(error, MemoryError) or re.search(r"out of memory|can.t allocate memory", str(error)):
        return f"{reason_of(error)}: give it less at once (train.batch_size, --limit), smaller sizes, or more memory."
    return None


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse, with settings such as `train.lr=1e-3`, and files, allowed between and after options, which argparse alone
    does not."""
    from pairalign.cli.ask import split_signals

    parser = build_parser()
    complete(parser)
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ["ask"]:
        argv, signals = split_signals(argv)
        args = parser.parse_args(argv)
        args.signals = signals
        return args
    args, rest = parser.parse_known_args(argv)
    many = next((name for name in ("files", "folders") if hasattr(args, name)), None)
    if many is not None and not any(word.startswith("-") for word in rest):
        setattr(args, many, [*getattr(args, many), *rest])
        return args
    settings = [word for word in rest if "=" in word and not word.startswith("-")]
    place = next((name for name in ("overrides", "options") if hasattr(args, name)), None)
    if place is None or len(settings) < len(rest):
        return parser.parse_args(argv)  # prints what is wrong, and leaves
    setattr(args, place, [*getattr(args, place), *settings])
    return args


if __name__ == "__main__":
    sys.exit(main())
