"""An argument parser that says what a misspelt verb or option was meant to be."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """argparse's, with "Did you mean …?" behind an unknown verb, choice or option."""

    words: Sequence[str] = ()
    examples: Sequence[str] = ()

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does; remembers the words, to know whose options a misspelt one is near to."""
        self.words = list(args or ())
        return super().parse_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Print usage and message, and leave with exit code 2."""
        super().error(message + _hint(message, self, self.words))


def _hint(message: str, parser: argparse.ArgumentParser, words: Sequence[str]) -> str:
    choice = re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message)
    if choice:
        return _nearest(choice[1], (name.strip(" '") for name in choice[2].split(",")))
    unknown = re.match(r"unrecognized arguments: (--[\w-]+)", message)
    return _nearest(unknown[1], _options(parser, words)) if unknown else ""


def _nearest(word: str, known: Iterable[str]) -> str:
    close = get_close_matches(word, list(known), n=1)
    return f". Did you mean {close[0]!r}?" if close else ""


def _options(parser: argparse.ArgumentParser, words: Sequence[str]) -> list[str]:
    """The options of the verb, and of the verb below it, that the words name."""
    for word in words:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction) and word in action.choices:
                parser = action.choices[word]
    return [name for action in parser._actions for name in action.option_strings]
