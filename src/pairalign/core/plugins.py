"""A plugin file as a thing that can be kept: its bytes, those of the neighbours it imports, and one hash of all.

Note:
    Only neighbours in the plugin's own folder that it imports by name, at any depth, belong to it; what is installed
    does not. Two plugins may have neighbours of one name: each gets its own.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from pairalign.core.author import imported_names
from pairalign.core.errors import RegistryError


@dataclass(frozen=True)
class PluginFile:
    """One plugin: its path, and the bytes of every file by its name relative to the plugin's folder, itself first."""

    path: Path
    files: dict[str, bytes]

    @property
    def sha256(self) -> str:
        """Of the names and bytes of all files."""
        digest = hashlib.sha256()
        for name, data in sorted(self.files.items()):
            digest.update(f"{name} {len(data)} ".encode() + data)
        return digest.hexdigest()

    @property
    def neighbours(self) -> set[str]:
        """Names under which the plugin imports what lies beside it."""
        return {name.split("/")[0].removesuffix(".py") for name in list(self.files)[1:]}


def is_file(plugin: str | Path) -> bool:
    """Whether a plugin is named by its path, not as an importable module."""
    return str(plugin).endswith(".py") or "/" in str(plugin)


def read_plugin(plugin: str | Path) -> PluginFile:
    """Read a plugin file and the neighbours that it imports; raise `RegistryError` where there is no such file."""
    path = Path(plugin).absolute()
    if not path.is_file():
        raise RegistryError(f"plugin {str(plugin)!r} is no file: give the path of a Python file.")
    files = {path.name: path.read_bytes()}
    waiting = [path.name]
    while waiting:
        for found in _neighbours(files[waiting.pop()], path.parent):
            name = found.relative_to(path.parent).as_posix()
            if name not in files:
                files[name] = found.read_bytes()
                waiting.append(name)
    return PluginFile(path, files)


def _neighbours(source: bytes, folder: Path) -> Iterator[Path]:
    """Files of `folder` that a source names in its imports; whole packages where it names one."""
    for name in sorted(set(imported_names(source))):
        if (folder / f"{name}.py").is_file():
            yield folder / f"{name}.py"
        elif (folder / name / "__init__.py").is_file():
            yield from sorted((folder / name).rglob("*.py"))


class _Finder(MetaPathFinder):
    """Finds a plugin's neighbours, and nothing else, in its folder."""

    def __init__(self, plugin: PluginFile) -> None:
        self.folder, self.names = str(plugin.path.parent), plugin.neighbours

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return PathFinder.find_spec(fullname, [self.folder]) if path is None and fullname in self.names else None


@contextmanager
def beside(plugin: PluginFile) -> Iterator[None]:
    """Let the block import the plugin's neighbours: this plugin's own, also where another's have the same names."""
    folder = str(plugin.path.parent)
    others = {
        name: module
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] in plugin.neighbours and not str(getattr(module, "__file__", "")).startswith(folder)
    }
    for name in others:
        del sys.modules[name]
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # a run's folder may be read-only
    finder = _Finder(plugin)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        sys.dont_write_bytecode = before
        sys.modules.update(others)


def source_hash(what: Callable[..., Any], until: type) -> str:
    """SHA-256 of the source of a function, or of a class and of those it derives from, down to `until`; of its code
    where none is kept.

    Functions and classes beside it are not seen: a plugin file is hashed whole (`PluginFile.sha256`).
    """
    if not isinstance(what, type):
        return hashlib.sha256(_source(what)).hexdigest()
    digest = hashlib.sha256()
    for one in what.__mro__:
        if one is until:
            break
        if issubclass(one, until):
            digest.update(_source(one))
    return digest.hexdigest()


def _source(what: Callable[..., Any]) -> bytes:
    try:
        return inspect.getsource(what).encode()
    except (OSError, TypeError):  # defined interactively
        parts = [what, *(value for _, value in sorted(vars(what).items()))]
        codes = (getattr(value, "__code__", None) for value in parts)
        return b"".join(code.co_code + repr(code.co_names).encode() for code in codes if code is not None)
