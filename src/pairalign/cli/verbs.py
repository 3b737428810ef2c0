"""Which verb takes which of the options that many verbs have, and how a verb is added: one table, one parent parser.

Note: an option that cannot mean anything to a verb, such as `--device` to `data pack`, is not in its row, and argparse
refuses it there.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from pairalign.cli.parser import Parser

TAKES: dict[str, tuple[str, ...]] = {
    "init": ("json", "quiet"),
    "demo": ("plugin", "device", "json", "quiet"),
    "encoders ls": ("plugin", "json", "quiet"),
    "encoders show": ("plugin", "json", "quiet"),
    "encoders check": ("plugin", "device", "json", "quiet"),
    "encoders new": ("plugin", "json", "quiet"),  # nothing to load: a spelling of earlier versions
    "data pack": ("json", "quiet"),
    "data index": ("json", "quiet"),
    "data convert": ("plugin", "json", "quiet"),
    "data inspect": ("json", "quiet"),
    "data audit": ("json", "quiet"),
    "plan": ("plugin", "device", "json", "quiet"),
    "align": ("plugin", "device", "json", "quiet"),
    "evaluate": ("plugin", "device", "json", "quiet"),
    "ablate": ("plugin", "device", "json", "quiet"),
    "translate": ("plugin", "device", "json", "quiet"),
    "score": ("plugin", "device", "json", "quiet"),
    "recompose": ("plugin", "device", "json", "quiet"),
    "sequence": ("plugin", "device", "json", "quiet"),
    "export": ("plugin", "device", "json", "quiet"),
    "push": ("json", "quiet"),
    "try": ("plugin", "device", "json", "quiet"),
    "ask": ("plugin", "device", "json", "quiet"),
    "describe": ("plugin", "device", "json", "quiet"),
    "env": ("plugin", "json", "quiet"),
    "completion": ("json", "quiet"),
    "schema": ("json", "quiet"),
}

_OPTIONS: dict[str, dict[str, Any]] = {
    "plugin": {
        "action": "append",
        "default": [],
        "metavar": "FILE",
        "help": "Python file or module with what you registered, repeatable; of a run, instead of its own",
    },
    "device": {"metavar": "NAME", "help": "auto (the accelerator, if any), cpu, cuda, cuda:N or mps"},
    "json": {"action": "store_true", "help": "one JSON document on stdout, and nothing else there"},
    "quiet": {
        "action": "store_true",
        "help": "no bars, no notices; errors, and what was moved or left out, stay",
    },
}


def shared_options(verb: str) -> argparse.ArgumentParser:
    """The parent parser of a verb: its row of the table."""
    parent = argparse.ArgumentParser(add_help=False)
    group = parent.add_argument_group("options that many verbs have")
    for name in TAKES[verb]:
        group.add_argument(f"--{name}", **_OPTIONS[name])
    return parent


def add_verb(verbs: Any, name: str, text: str, *, examples: Sequence[str], epilog: str = "", **more: Any) -> Parser:
    """Add a verb, or a subverb such as "data pack", with the options of its row.

    text: what it does, in the list of verbs. examples: whole commands, shown below the options. more: of argparse.
    """
    more.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
    shown = "\n".join(["examples:", *(f"  {line}" for line in examples), *(["", epilog] if epilog else [])])
    parents = [shared_options(name)]
    parser: Parser = verbs.add_parser(name.split()[-1], help=text, parents=parents, epilog=shown, **more)
    parser.examples = tuple(examples)
    return parser
