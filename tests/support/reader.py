"""What a reader of the project's pages types: the commands of their fenced blocks, line by line as they stand there."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path

_BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)


def blocks(page: Path, *languages: str) -> list[str]:
    """The fenced blocks of a page that are in one of these languages, without what indents them."""
    found = _BLOCK.findall(page.read_text(encoding="utf-8"))
    return [textwrap.dedent(text) for _, language, text in found if language in languages]


def lines(page: Path, block: int | None = None) -> Iterator[str]:
    """The lines of a page's shell blocks, or of one of them, with their remarks."""
    chosen = blocks(page, "sh", "bash")
    for text in chosen if block is None else [chosen[block]]:
        yield from (line for line in text.splitlines() if line.strip())


def commands(line: str) -> list[list[str]]:
    """The commands that a line is made of, as lists of words, without its remark."""
    split = (shlex.split(part, comments=True) for part in line.split("&&"))
    return [words for words in split if words]
