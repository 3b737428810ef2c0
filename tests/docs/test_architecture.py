"""docs/architecture.md is so: packages import those of their row, and no two modules import each other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "pairalign"
MODULES = {
    ".".join(("pairalign", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in SOURCE.rglob("*.py")
    if "templates" not in path.parts
}


def imports(node: ast.AST, late: bool = False) -> Iterator[tuple[str, bool]]:
    """Every module that code imports, and whether only when a function runs; types alone count as nothing."""
    parts = ("body", "orelse", "handlers", "finalbody", "cases")
    for child in (statement for part in parts for statement in getattr(node, part, ())):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from ((alias.name, late) for alias in child.names)
        if isinstance(child, ast.ImportFrom) and child.module:
            yield from ((f"{child.module}.{alias.name}", late) for alias in child.names)
        yield from imports(child, late or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))


@cache
def ours() -> dict[str, list[tuple[str, bool]]]:
    """By module, the modules of pairalign that it imports, a name in one counted as that one."""
    found = {}
    for name, path in MODULES.items():
        told = []
        for target, late in imports(ast.parse(path.read_text(encoding="utf-8"))):
            module = target if target in MODULES else target.rpartition(".")[0]
            if module in MODULES and module not in (name, "pairalign"):
                told.append((module, late))
        found[name] = told
    return found


def package(module: str) -> str:
    return module.split(".")[1]


def rows() -> dict[str, set[str] | None]:
    """What each package may import; `None` for any."""
    table = {}
    for names, allowed in re.findall(r"^\| (`[^|]+) \| [^|]+ \| ([^|]+) \|$", PAGE, re.MULTILINE):
        for name in re.findall(r"`(\w+)`", names):
            table[name] = None if allowed == "any" else set(re.findall(r"`(\w+)`", allowed))
    return table


PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_every_package_imports_only_what_its_row_allows() -> None:
    table = rows()
    for module, targets in ours().items():
        if "." not in module or module == "pairalign.__main__":
            continue
        mine = package(module)
        assert mine in table, f"docs/architecture.md has no row for {mine}: add one"
        allowed = table[mine]
        for target, _ in targets if allowed is not None else ():
            assert package(target) in {mine, *(allowed or ())}, f"{module} imports {target}: docs/architecture.md"


def test_no_module_imports_itself_by_a_chain() -> None:
    graph = {module: {target for target, late in targets if not late} for module, targets in ours().items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))
