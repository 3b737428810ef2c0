"""Code that an encoder's author wrote: which files it is, what it may import, and which line of it an error is of.

Note:
    Such an error often surfaces deep inside torch or Lightning. What its author needs is the last line of his own that
    it passed through, and not our traceback. A file that lies inside a plugin's folder, but in `site-packages` or in
    pairalign itself, is not his.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from pairalign.core.errors import RegistryError

_folders: set[str] = set()  # of plugin files: their neighbours are the author's too
_packages: set[str] = set()  # importable modules that hold encoders of others
_IN_TEXT = re.compile(r'^\s*File "(.+)", line (\d+)', re.MULTILINE)  # as a traceback is printed


def remember_package(module: str) -> None:
    """Take the whole top-level package of `module` for an author's code."""
    _packages.add(module.partition(".")[0])


def open_folder(path: Path) -> None:
    """Let the plugin file at `path` import the files beside it, as `python plugin.py` would.

    Raises:
        RegistryError: a name that it imports lies beside it, and is another module's already; Python would take that
            one without a word.
    """
    folder = path.resolve().parent
    _folders.add(str(folder))
    if str(folder) not in sys.path:
        sys.path.append(str(folder))  # last, so that a file called `queue.py` here breaks nothing of others
    files, seen = [path], set[str]()
    while files:
        for name in imported_names(files.pop().read_bytes()):
            beside = [p for p in (folder / f"{name}.py", folder / name / "__init__.py") if p.is_file()]
            if not beside or name in seen:
                continue
            seen.add(name)
            files += beside
            owner = _owner(name)
            if owner not in [str(file) for file in beside] and not _of_plugin(owner):
                raise RegistryError(
                    f"plugin {str(path)!r} imports {name!r}, which lies beside it, but Python finds that name in "
                    f"{owner}: give {beside[0].name!r} another name."
                )


def where_of(error: BaseException) -> str | None:
    """`FILE, line N`: the last line of an author's own code that an error passed through, also in a loader worker."""
    if isinstance(error, SyntaxError) and error.filename and _authored(error.filename, ""):
        return f"{error.filename}, line {error.lineno}"
    found = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        if _authored(frame.f_code.co_filename, _module(frame)):
            found = f"{frame.f_code.co_filename}, line {line}"
    for file, number in _IN_TEXT.findall(str(error)):  # the traceback that a worker sent as text
        if _authored(file, ""):
            found = f"{file}, line {number}"
    if found is None and error.__cause__ is not None:
        return where_of(error.__cause__)
    return found


def reason_of(error: BaseException) -> str:
    """`Type: message` in one line; of a loader worker's error, which comes with its traceback, what stands last."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    if lines and _IN_TEXT.search(str(error)):
        return next((line for line in lines[::-1] if not line.startswith(" ")), lines[-1])
    return f"{type(error).__name__}: {lines[0] if lines else 'without a message'}"


def told(error: BaseException) -> str:
    """`Type: message (FILE, line N)`, the place where an author's code is behind it."""
    where = where_of(error)
    return reason_of(error) + (f" ({where})" if where else "")


def imported_names(source: bytes) -> Iterator[str]:
    """Top-level names that a file imports, given its bytes."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # importing it says what is wrong
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _owner(name: str) -> str | None:
    """The file that `import name` reads, or "built-in" and the like."""
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # a module that somebody made by hand
        return getattr(sys.modules.get(name), "__file__", None)
    return spec.origin if spec is not None else None


def _of_plugin(file: str | None) -> bool:
    """Whether a file lies beside another plugin: each gets its own neighbours (`pairalign.core.plugins.beside`)."""
    return file is not None and any(Path(file).is_relative_to(folder) for folder in _folders)


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _authored(file: str, module: str) -> bool:
    top = module.partition(".")[0]
    if top in _packages:
        return True
    ours = top == "pairalign" or (top.startswith("pairalign_") and not top.startswith("pairalign_plugin_"))
    folder = next((f for f in _folders if Path(file).is_relative_to(f)), None)
    if ours or folder is None:
        return False
    return not {"site-packages", "dist-packages"} & set(Path(file).relative_to(folder).parts)
