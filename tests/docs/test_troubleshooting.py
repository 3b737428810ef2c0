"""docs/troubleshooting.md has every error class, with its exit code and a message that the code can still say."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from pairalign.core import errors

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
CLASSES = {
    name: value
    for name, value in inspect.getmembers(errors, inspect.isclass)
    if issubclass(value, errors.PairalignError) and value is not errors.PairalignError
}
NAMED = re.compile(  # what a message fills in
    r"'[^']*'|\([^)]*\)|\d+|of one|(?<=[a-z] )\w+\.\w[\w.]*|Llava\w+|[\w -]+(?=: (?:split|holds))"
)
SECTIONS = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##)", PAGE, re.MULTILINE | re.DOTALL))


def sources() -> str:
    """All of the code as text, with literals that lie on several lines joined."""
    whole = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "src").rglob("*.py")))
    return re.sub(r'"\s*\n\s*f?"', "", whole)


def test_every_error_class_has_its_section_and_no_other() -> None:
    assert set(SECTIONS) == set(CLASSES)


@pytest.fixture(scope="module")
def code() -> str:
    return sources()


def test_a_section_has_the_exit_code_and_a_message_of_the_code(code: str) -> None:
    for name, cls in CLASSES.items():
        assert SECTIONS[name].strip().startswith(f"Exit code {cls.exit_code}. "), name
        (message,) = re.findall(r"```text\n(.*?)\n```", SECTIONS[name], re.DOTALL)
        fixed = [part.strip() for part in NAMED.split(message)]
        told = [part for part in fixed if len(part) >= 12]
        assert told, name
        for part in told:
            assert part in code, f"{name}: nothing says {part!r} any more"
