"""What a verb answers: text, or under `--json` one JSON document, which is then all that stands on stdout.

Note: under `--json` whatever else is printed meanwhile, by anybody, goes to stderr, and nowhere under `--quiet`. A verb
that fails, and a process of a run that is not its first, print no document. Credentials in addresses are hidden.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

from pairalign.core.plain import plain
from pairalign.core.secrets import hide_addresses


def answer(args: argparse.Namespace, record: Any, *text: str, through: Callable[[str], object] | None = None) -> None:
    """Print the text, or keep the record for the end.

    record: anything that `plain` knows. through: `pipe.say` of a verb whose work is done, whoever reads what it says.
    """
    if args.json:
        args.document, args.through = record, through or print
        return
    for piece in text:
        (through or print)(piece)


@contextmanager
def answering(args: argparse.Namespace) -> Iterator[None]:
    """Let the block print what it likes; print its document when it is done."""
    if not getattr(args, "json", False):
        yield
        return
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere if args.quiet else sys.stderr):
        yield
    if hasattr(args, "document"):
        args.through(json.dumps(hide_addresses(plain(args.document)), indent=2))
