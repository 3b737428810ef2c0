"""Reading a manifest, JSON lines or CSV, into the samples that `pack_pairs` takes.

A column per modality holds a path, relative to the manifest's folder or to `root`, or a literal value. Where
it bites: a string that ends like a data file (".jpg", ".npy", …) is a path, everything else is a value; say
`column:text`, `column:value` or `column:path` where that guess is wrong. A path may not leave the root, so
that a manifest from elsewhere cannot pull in files that it should not.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairalign.core.errors import DataError, did_you_mean
from pairalign.data.decode import DECODERS
from pairalign.data.encode import is_numeric
from pairalign.data.rows import RESERVED, check_modalities

KINDS = ("auto", "path", "value", "text")
ROLES = ("key", "label", "group", "session", "split")


@dataclass(frozen=True)
class Column:
    """Where a field comes from: a column, and how its cells are read."""

    name: str
    kind: str = "auto"

    @classmethod
    def parse(cls, text: str) -> Column:
        """`touch_diff` or `text:value`."""
        name, sign, kind = text.rpartition(":")
        return cls(name, kind) if sign and kind in KINDS else cls(text)


@dataclass(frozen=True)
class _Line:
    """One row of the manifest, and how an error calls it."""

    number: int
    cells: Mapping[str, Any]
    where: str


@dataclass(frozen=True)
class Manifest:
    """A manifest and how to read it; a source for `pack_pairs`.

    modalities: column by modality (`{"touch": "touch_diff", "text": "text:value"}`), or by part of one
        (`"touch.background"`, `"touch.frames"`, `"touch.sensor"`); None takes every column that is no role.
    columns: column by role ("key", "label", "group", "session", "split"), where its name is another.
    root: folder that paths are relative to; default the manifest's own.
    where: keep rows whose cell equals the value, or one of the values.
    """

    path: str | Path
    modalities: Mapping[str, str] | None = None
    columns: Mapping[str, str] | None = None
    root: str | Path | None = None
    where: Mapping[str, str | Sequence[str]] | None = None

    def read(self, on_bad: Callable[[str, str], None] | None = None) -> list[dict[str, Any]]:
        """Samples for `pack_pairs`; raise `DataError` with line, column and fix.

        on_bad: called with (key, reason) for a row that lacks a side or a file, which is then left out;
        without it such a row raises.
        """
        path = Path(self.path)
        lines = _filtered(_lines(path), self.where or {}, path)
        if not lines:
            raise DataError(f"manifest {path.name!r} holds no rows{' that match the filter' if self.where else ''}.")
        known = list(dict.fromkeys(name for line in lines for name in line.cells))
        roles = {role: role for role in ROLES if role in known} | dict(self.columns or {})
        free = [name for name in known if name not in RESERVED and name not in roles.values()]
        fields = {name: Column.parse(text) for name, text in (self.modalities or {name: name for name in free}).items()}
        check_modalities(list(dict.fromkeys(name.partition(".")[0] for name in fields)))
        _check_columns(fields, roles, known, path)
        base = Path(os.path.abspath(path.parent if self.root is None else self.root))
        return list(_samples(lines, fields, roles, base, on_bad))


def _samples(
    lines: Sequence[_Line],
    fields: Mapping[str, Column],
    roles: Mapping[str, str],
    base: Path,
    on_bad: Callable[[str, str], None] | None,
) -> Iterator[dict[str, Any]]:
    seen: dict[str, int] = {}
    for line in lines:
        sample = _roles(line, roles, seen)
        try:
            sample.update(_values(line, fields, base))
        except DataError as error:
            if on_bad is None:
                raise
            on_bad(sample["key"], str(error))
            continue
        yield sample


def _lines(path: Path) -> Iterator[_Line]:
    if not path.is_file():
        raise DataError(f"manifest {str(path)!r} is no file: give a .jsonl or .csv file.")
    reader = {".jsonl": _json_lines, ".ndjson": _json_lines, ".csv": _csv}.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"manifest {path.name!r}: use .jsonl (JSON lines) or .csv.")
    try:
        yield from reader(path)
    except UnicodeDecodeError as error:
        raise DataError(f"manifest {path.name!r} is not UTF-8 ({error.reason}): save it as UTF-8.") from error


def _json_lines(path: Path) -> Iterator[_Line]:
    with path.open(encoding="utf-8-sig") as stream:
        for number, text in enumerate(stream, start=1):
            if not text.strip():
                continue
            where = f"{path.name} line {number}"
            try:
                cells = json.loads(text)
            except ValueError as error:
                raise DataError(f"{where}: no valid JSON ({error}): write one object a line.") from error
            if not isinstance(cells, dict):
                raise DataError(f"{where}: holds a {type(cells).__name__}: write one JSON object a line.")
            yield _Line(number, cells, where)


def _csv(path: Path) -> Iterator[_Line]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        for cells in reader:
            where = f"{path.name} line {reader.line_num}"
            if None in cells or None in cells.values():
                raise DataError(f"{where}: has another number of cells than the header: quote cells with commas.")
            yield _Line(reader.line_num, {name: cell or None for name, cell in cells.items()}, where)


def _filtered(lines: Iterator[_Line], where: Mapping[str, str | Sequence[str]], path: Path) -> list[_Line]:
    read = list(lines)
    known = list(dict.fromkeys(name for line in read for name in line.cells))
    for name, wanted in where.items():
        if read and name not in known:
            raise DataError(f"manifest {path.name!r} has no column {name!r} to filter by.{did_you_mean(name, known)}")
        values = {wanted} if isinstance(wanted, str) else set(wanted)
        read = [line for line in read if str(line.cells.get(name)) in values]
    return read


def _check_columns(fields: Mapping[str, Column], roles: Mapping[str, str], known: Sequence[str], path: Path) -> None:
    for role in roles:
        if role not in ROLES:
            raise DataError(f"column role {role!r} is unknown.{did_you_mean(role, ROLES)}")
    for what, name in [*((f"modality {f!r}", c.name) for f, c in fields.items()), *roles.items()]:
        if name not in known:
            raise DataError(f"manifest {path.name!r} has no column {name!r} for {what}.{did_you_mean(name, known)}")


def _roles(line: _Line, roles: Mapping[str, str], seen: dict[str, int]) -> dict[str, Any]:
    sample: dict[str, Any] = {
        role: line.cells[column] for role, column in roles.items() if line.cells.get(column) is not None
    }
    sample["key"] = str(sample.get("key", f"{line.number:08d}"))
    if sample["key"] in seen:
        raise DataError(f"{line.where}: key {sample['key']!r} is that of line {seen[sample['key']]} too: change one.")
    seen[sample["key"]] = line.number
    return sample


def _values(line: _Line, fields: Mapping[str, Column], base: Path) -> dict[str, Any]:
    """Values by modality; a modality that is named with parts becomes a dict of them."""
    values: dict[str, Any] = {}
    with_parts = {name.partition(".")[0] for name in fields if "." in name}
    for field, column in fields.items():
        modality, _, part = field.partition(".")
        cell = line.cells.get(column.name)
        if cell is None:
            raise DataError(f"{line.where}, column {column.name!r}: is empty, but every row needs {field!r}.")
        value = _value(cell, column, f"{line.where}, column {column.name!r}", base)
        if modality not in with_parts:
            values[modality] = value
            continue
        plain = not part and isinstance(value, list) and not is_numeric(value)
        values.setdefault(modality, {})["frames" if plain else part or "value"] = value
    return values


def _value(cell: Any, column: Column, where: str, base: Path) -> Any:
    if column.kind == "text":
        return str(cell)
    if isinstance(cell, str) and column.kind in ("auto", "value") and cell[:1] in "[-0123456789.":
        cell = _literal(cell)
    if isinstance(cell, list) and not is_numeric(cell):
        return [_value(entry, column, where, base) for entry in cell]
    if column.kind == "path" or (column.kind == "auto" and _is_path(cell)):
        return _path(cell, where, base)
    return cell


def _literal(cell: str) -> Any:
    """A number or list that a CSV cell spells, else the text itself."""
    try:
        value = json.loads(cell)
    except ValueError:
        return cell
    return value if isinstance(value, list) or is_numeric(value) else cell


def _is_path(cell: Any) -> bool:
    return isinstance(cell, str) and os.path.splitext(cell)[1].lower().removeprefix(".") in DECODERS


def _path(cell: Any, where: str, base: Path) -> Path:
    if not isinstance(cell, str):
        raise DataError(f"{where}: {cell!r} is no path: write a string, or map the column as a value.")
    path = Path(os.path.normpath(base / cell))
    if not path.is_relative_to(base):
        raise DataError(f"{where}: path {cell!r} leaves the root: set a root above it.")
    if not path.is_file():
        raise DataError(f"{where}: file {cell!r} does not exist: correct the path, or set the root folder.")
    return path
