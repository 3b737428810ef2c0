"""Octopi's tables, which it keeps in its code: a constants.py that is read and never run.

Note:
    Only plain literals of top-level assignments are found; what is computed is left out. A property counts where there
    are both a rank by object and a word by rank.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pairalign.core.errors import DataError

CONSTANTS = "constants.py|utils/constants.py|*/constants.py|*/utils/constants.py"
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class OctopiTables:
    """What the tables say. properties: word by object, by property. names: a phrase by object. splits: by object."""

    properties: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> OctopiTables:
        """From `<PROPERTY>_RANK` with `<PROPERTY>_MAP`, from `OBJECTS`, and from `{TRAIN,VAL,TEST}_OBJECTS`."""
        tables = read_literals(path)
        properties: dict[str, dict[str, str]] = {}
        for table in tables:
            words = tables.get(table.removesuffix("_RANK") + "_MAP")
            if table.endswith("_RANK") and isinstance(tables[table], dict) and isinstance(words, dict):
                ranks = tables[table].items()
                properties[table.removesuffix("_RANK").lower()] = {
                    bare_name(o): words[r] for o, r in ranks if r in words
                }
        names = tables.get("OBJECTS")
        splits: dict[str, str] = {}
        for split in SPLITS:
            for entry in tables.get(f"{split.upper()}_OBJECTS", ()):
                if splits.setdefault(bare_name(entry), split) != split:
                    raise DataError(
                        f"constants.py: {entry!r} is in {splits[bare_name(entry)]} and in {split}: correct it."
                    )
        named = names.items() if isinstance(names, dict) else ()
        return cls(properties, {bare_name(entry): str(phrase) for entry, phrase in named}, splits)

    def label(self, entry: str) -> dict[str, str]:
        """The properties of an object, as far as they are known."""
        return {name: words[entry] for name, words in self.properties.items() if entry in words}

    def words(self, entry: str) -> str:
        """An object in words."""
        return self.names.get(entry, entry.replace("_", " "))


def bare_name(entry: Any) -> str:
    """An object's or a recording's name without the data set's."""
    return str(entry).removeprefix("physiclear_")


def read_literals(path: Path) -> dict[str, Any]:
    """Value by name; raise `DataError` for a file that is no Python."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise DataError(f"{path.name!r} is no Python file ({error}): copy it again, or take it away.") from error
    found: dict[str, Any] = {}
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            try:
                found[statement.targets[0].id] = ast.literal_eval(statement.value)
            except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
                continue  # computed
    return found
