"""Names whose entries are imported when they are first asked for, such as dataset formats and protocols.

Note:
    A module registers its entry as it is imported, so the table of modules is what exists, and listing all entries
    imports all of them.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Protocol, TypeVar

from pairalign.core.errors import PairalignError, did_you_mean


class Owned(Protocol):
    """An entry that knows which module registered it."""

    @property
    def owner(self) -> str: ...


T = TypeVar("T", bound=Owned)


class LazyEntries(dict[str, T]):
    """The entries that are registered. what: what one is called in errors, which are of class `error`.

    package, modules: module inside the package by name, of entries that come with the project.
    """

    def __init__(self, what: str, package: str, modules: Mapping[str, str], error: type[PairalignError]) -> None:
        super().__init__()
        self.what, self.package, self.modules, self.error = what, package, modules, error

    def add(self, name: str, entry: T) -> None:
        """Register an entry; raise `error` if another module owns the name."""
        if name in self and self[name].owner != entry.owner:
            raise self.error(f"{self.what} {name!r} is registered already, by {self[name].owner}.")
        self[name] = entry

    def find(self, name: str) -> T:
        """The entry of that name; raise `error` with the nearest one."""
        if name not in self:
            if name not in self.modules:
                raise self.error(f"{self.what} {name!r} is unknown.{did_you_mean(name, {*self.modules, *self})}")
            importlib.import_module(f"{self.package}.{self.modules[name]}")
        return self[name]

    def every(self) -> dict[str, T]:
        """Every entry by name, sorted."""
        return {name: self.find(name) for name in sorted({*self.modules, *self})}
