"""`pairalign completion bash|zsh|fish`: what a shell runs to complete verbs, options, encoders and dataset formats.

Note: the shell asks `pairalign` itself at every press of the key, so that what is installed meanwhile is known; no verb
runs then, and nothing heavy is imported.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable
from typing import Any

from pairalign.cli.answer import answer
from pairalign.cli.verbs import add_verb
from pairalign.core.errors import ConfigError

SHELLS = {
    "bash": 'put this into ~/.bashrc: eval "$(pairalign completion bash)"',
    "zsh": 'put this into ~/.zshrc, below compinit: eval "$(pairalign completion zsh)"',
    "fish": "once: pairalign completion fish > ~/.config/fish/completions/pairalign.fish",
}


def register(verbs: Any) -> None:
    """Add the verb."""
    examples = ("pairalign completion bash", "pairalign completion fish > pairalign.fish")
    text = "print what lets a shell complete verbs, options and names"
    epilog = "\n".join(f"{shell}: {how}" for shell, how in SHELLS.items())
    parser = add_verb(verbs, "completion", text, examples=examples, epilog=epilog)
    parser.add_argument("shell", choices=SHELLS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    try:
        from argcomplete import shellcode
    except ImportError as error:
        raise ConfigError("completion needs the package argcomplete: pip install 'pairalign[completion]'.") from error
    script = shellcode(["pairalign"], shell=args.shell)
    answer(args, {"shell": args.shell, "script": script}, script)
    return 0


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer a shell that asks, and leave; nothing where none does."""
    if "_ARGCOMPLETE" not in os.environ:
        return
    from argcomplete import autocomplete

    autocomplete(parser)


def offer(action: argparse.Action, names: Callable[[], Iterable[str]]) -> None:
    """Complete an argument by names that are found when a shell asks."""
    action.completer = lambda **_: names()  # type: ignore[attr-defined]


def settings(*kinds: str) -> Callable[[], Iterable[str]]:
    """`section.name=` of every setting of such configurations, "align", "recompose" or "sequence"."""

    def names() -> Iterable[str]:
        from pairalign.core.schema import settings_below
        from pairalign.finetune.sequence.schema import KINDS

        return sorted({f"{name}=" for kind in kinds for name in settings_below(KINDS[kind])})

    return names


def formats() -> Iterable[str]:
    """Names of the dataset formats that come with the project."""
    from pairalign.data.convert.dataset_format import MODULES

    return sorted(MODULES)


def encoders() -> Iterable[str]:
    """Names of encoders that packages bring."""
    from importlib.metadata import entry_points

    from pairalign.core.registry import GROUP

    return sorted({point.name for point in entry_points(group=GROUP)})
