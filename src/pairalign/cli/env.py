"""`pairalign env`: what a bug report needs to know, whatever is broken here."""

from __future__ import annotations

import argparse
from typing import Any

from pairalign.cli.answer import answer
from pairalign.cli.settings import load_plugins
from pairalign.cli.verbs import add_verb


def register(verbs: Any) -> None:
    """Add the verb."""
    examples = ("pairalign env", "pairalign env --plugin glove.py --json > env.json")
    add_verb(
        verbs, "env", "versions, devices, plugins and variables, for a bug report", examples=examples
    ).set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print it."""
    from pairalign.core.errors import RegistryError
    from pairalign.core.registry import registered_here
    from pairalign.runs.environment import environment

    found = environment()
    try:
        load_plugins(args)
        found["plugins"] = registered_here()
    except RegistryError as error:
        found["plugins"] = {"cannot be loaded": str(error)}
    lines: list[str] = []
    for title, part in found.items():
        lines.append(f"{title}:" if part else f"{title}: none")
        if isinstance(part, dict):
            width = max(map(len, part), default=0)
            lines += [f"  {name:<{width}}  {value}" for name, value in part.items()]
        else:
            lines += [f"  {entry}" for entry in part]
    answer(args, found, *lines)
    return 0
