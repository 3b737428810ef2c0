"""A manifest's rows as the samples that `pack_pairs` takes: which columns, of what kind, from which row.

    Manifest("recordings.csv", {"touch": "gel", "text": "says:text"}).read()

How a file is read is in `lines`, what a column holds in `columns`.

Note:
    Without `modalities`, files, lists of numbers and what is called a text are packed, and other columns only if that
    leaves fewer than two; whatever is left out is listed. A path may not leave the root, by its name or by a link, so
    that a manifest from elsewhere cannot pull in files that it should not.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pairalign.core.errors import DataError, did_you_mean
from pairalign.data.columns import KINDS, Column, Links, Way, decide, is_called_text, is_missing, value_of
from pairalign.data.encode import is_numeric
from pairalign.data.lines import Line, Lines, read_lines
from pairalign.data.rows import NAME, RESERVED, check_modalities, checked_text

ROLES = ("key", "label", "group", "session", "split")
ID = "id"  # the column that is the key where none is called so
_KEY = 32  # bytes of a key that nobody named; percent-encoded it still fits a tar member
OnBad = Callable[[str, str], None]


@dataclass(frozen=True)
class Manifest:
    """A manifest and how to read it; a source for `pack_pairs`.

    modalities: column by modality (`{"touch": "touch_diff", "text": "text:value"}`), or by part of one
        (`"touch.background"`, `"touch.frames"`, `"touch.sensor"`); None takes those columns that are no role and look
        like a modality, see the module.
    columns: column by role ("key", "label", "group", "session", "split"), where its name is another. Without a key a
        column `id` is one, where each row has another.
    root: folder that paths are relative to; default the manifest's own.
    where: keep rows whose cell equals the value, or one of the values.
    kinds: "path", "text" or "number" by modality, where the rule of `columns` is not what is meant.
    delimiter: of a CSV file; None finds it. all_columns: also take every column that nobody named.
    follow_links: take files that a link leads to outside of the root, which a manifest from elsewhere must not.
    """

    path: str | Path
    modalities: Mapping[str, str] | None = None
    columns: Mapping[str, str] | None = None
    root: str | Path | None = None
    where: Mapping[str, str | Sequence[str]] | None = None
    kinds: Mapping[str, str] | None = None
    delimiter: str | None = None
    all_columns: bool = False
    follow_links: bool = False

    def read(self, on_bad: OnBad | None = None) -> list[dict[str, Any]]:
        """Samples for `pack_pairs`; raise `DataError` with line, column and fix.

        on_bad: called with (key, reason) for a row that cannot be read or lacks a side or a file, which is then left
        out; without it such a row raises.
        """
        return list(self.table(on_bad).samples(on_bad))

    def table(self, on_bad: OnBad | None = None) -> Table:
        """The rows, and what each column was found to hold; no file that a row names is opened."""
        path = Path(self.path)
        lines = _whole(read_lines(path, self.delimiter), on_bad)
        rows = _filtered(lines, self.where or {}, path)
        if not rows:
            raise DataError(f"manifest {path.name!r} holds no rows{' that match the filter' if self.where else ''}.")
        roles = {role: role for role in ROLES if role in lines.columns} | dict(self.columns or {})
        base = Path(os.path.abspath(path.parent if self.root is None else self.root))
        named = {name: Column.parse(text) for name, text in (self.modalities or {}).items()}
        taken = {*roles.values(), *(column.name for column in named.values())}
        if "key" not in roles and ID not in taken and _tells_apart(rows):
            roles["key"] = ID
        _check_columns(named, roles, lines.columns, path)

        @cache
        def settled(column: Column) -> Column:
            return decide(column, [(row.where, row.cells.get(column.name)) for row in rows], lines.spelled, base)

        fields, left_out = self._fields(named, roles, lines, rows, settled)
        check_modalities(list(dict.fromkeys(name.partition(".")[0] for name in fields)))
        return Table(path.name, lines, rows, fields, roles, left_out, base, self.follow_links)

    def _fields(
        self,
        named: Mapping[str, Column],
        roles: Mapping[str, str],
        lines: Lines,
        rows: Sequence[Line],
        settled: Callable[[Column], Column],
    ) -> tuple[dict[str, Column], tuple[str, ...]]:
        """The column of each field with its kind, and the columns that are left out."""
        used = {column.name for column in named.values()}
        free = [name for name in lines.columns if name not in {*RESERVED, *roles.values(), *lines.unnamed, *used}]
        fields = {name: _of_kind(column, name, self.kinds or {}) for name, column in named.items()}
        spare = {name: _of_kind(Column(name), name, self.kinds or {}) for name in free}
        if not named and not self.all_columns:
            spare = _likely(spare, rows, lines.spelled, settled)
        if not named or self.all_columns:
            fields |= spare
        for name, kind in (self.kinds or {}).items():
            if kind not in KINDS:
                raise DataError(f"kind of {name!r}: {kind!r} is unknown.{did_you_mean(kind, KINDS)}")
            if name not in fields:
                raise DataError(f"kinds name {name!r}, which is not packed.{did_you_mean(name, fields)}")
        kept = [name for name in lines.columns if name in RESERVED and name not in {*roles.values(), *used}]
        left_out = (*(name for name in free if name not in fields), *kept, *lines.unnamed)
        return {name: settled(column) for name, column in fields.items()}, left_out


@dataclass(frozen=True)
class Table:
    """A manifest that was read: which column each field is, of what kind, and what is left out."""

    name: str
    lines: Lines
    rows: list[Line]
    fields: dict[str, Column]
    roles: dict[str, str]
    left_out: tuple[str, ...]
    base: Path
    follow_links: bool = False

    def text(self) -> str:
        """What was understood, a line for each field, to be read before hours of packing."""
        found = [f"{self.name}: {self.lines.form}, {len(self.rows)} rows"]
        width = 2 + max(map(len, self.fields))
        for name, column in self.fields.items():
            origin = "" if column.name == name else f" from column {column.name!r}"
            how = f" ({column.note.replace('NAME', name)})" if column.note else ""
            found.append(f"  {name:<{width}}{column.kind:<8}{origin}{how}".rstrip())
        roles = [f"{role} from column {column!r}" for role, column in self.roles.items() if role != column]
        if roles:
            found.append(f"  roles: {', '.join(roles)}")
        if self.left_out:
            fix = "name them with --modality, or take all with --all-columns"
            found.append(f"  left out, nobody named them: {', '.join(self.left_out)} ({fix})")
        return "\n".join(found)

    def samples(self, on_bad: OnBad | None = None) -> Iterator[dict[str, Any]]:
        """A sample of each row; a bad one raises, or goes to `on_bad` as (key, reason)."""
        out = None if self.follow_links else Links(self.base)
        ways = {name: Way(column, self.lines.spelled, self.base, out) for name, column in self.fields.items()}
        keyed = self.roles.get("key") in self.lines.columns
        seen: dict[str, int] = {}
        for line in self.rows:
            key = str(line.cells.get(self.roles["key"])) if keyed else f"{line.number:08d}"
            try:
                sample = _roles(line, self.roles, seen, keyed)
                sample.update(_values(line, ways))
            except DataError as error:
                if on_bad is None:
                    raise
                on_bad(_printable(key), str(error))
                continue
            yield sample


def _likely(
    spare: Mapping[str, Column], rows: Sequence[Line], spelled: bool, settled: Callable[[Column], Column]
) -> dict[str, Column]:
    """The columns that look like a modality, or all that could be one where fewer than two do."""
    able = {name: column for name, column in spare.items() if NAME.fullmatch(name)}
    found = {}
    for name, column in able.items():
        try:
            kind = settled(column).kind
        except DataError:  # raised again if the column is packed, for its name or for lack of others
            kind = "text"
        lists = kind == "number" and any(_is_list(row.cells.get(name)) for row in rows)
        if kind in ("path", "parts") or lists or column.kind != "auto" or is_called_text(name):
            found[name] = column
    return found if len(found) > 1 else dict(able or spare)


def _is_list(cell: Any) -> bool:
    return isinstance(cell, list) or (isinstance(cell, str) and cell.strip()[:1] == "[")


def _of_kind(column: Column, field: str, kinds: Mapping[str, str]) -> Column:
    return dataclasses.replace(column, kind=kinds[field]) if field in kinds else column


def _whole(lines: Lines, on_bad: OnBad | None) -> Lines:
    """The rows that could be read; the others raise, or are handed over."""
    for line in lines.rows:
        if line.bad is not None:
            if on_bad is None:
                raise DataError(f"{line.where}: {line.bad}")
            on_bad(f"{line.number:08d}", f"{line.where}: {line.bad}")
    return dataclasses.replace(lines, rows=[line for line in lines.rows if line.bad is None])


def _filtered(lines: Lines, where: Mapping[str, str | Sequence[str]], path: Path) -> list[Line]:
    rows = lines.rows
    for name, wanted in where.items():
        if rows and name not in lines.columns:
            hint = did_you_mean(name, lines.columns)
            raise DataError(f"manifest {path.name!r} has no column {name!r} to filter by.{hint}")
        values = {wanted} if isinstance(wanted, str) else set(wanted)
        rows = [row for row in rows if _spelled(row.cells.get(name)) in values]
    return rows


def _spelled(cell: Any) -> str:
    return str(cell).lower() if isinstance(cell, bool) else str(cell)


def _check_columns(fields: Mapping[str, Column], roles: Mapping[str, str], known: Sequence[str], path: Path) -> None:
    for role in roles:
        if role not in ROLES:
            raise DataError(f"column role {role!r} is unknown.{did_you_mean(role, ROLES)}")
    for what, name in [*((f"modality {f!r}", c.name) for f, c in fields.items()), *roles.items()]:
        if name not in known:
            raise DataError(f"manifest {path.name!r} has no column {name!r} for {what}.{did_you_mean(name, known)}")


def _tells_apart(rows: Sequence[Line]) -> bool:
    """Whether the cells of `ID` can be keys: short plain values, one in each row, each another."""
    cells = [row.cells.get(ID) for row in rows]
    plain = all(isinstance(cell, (str, int)) and not isinstance(cell, bool) and not is_missing(cell) for cell in cells)
    return plain and max(len(str(cell).encode()) for cell in cells) <= _KEY and len(set(map(str, cells))) == len(cells)


def _roles(line: Line, roles: Mapping[str, str], seen: dict[str, int], keyed: bool) -> dict[str, Any]:
    sample: dict[str, Any] = {
        role: line.cells[column] for role, column in roles.items() if not is_missing(line.cells.get(column))
    }
    if keyed and ("key" not in sample or isinstance(sample["key"], (dict, list, bool))):
        given = line.cells.get(roles["key"])
        raise DataError(f"{line.where}: key {given!r} is none: give each row its own, or leave the column out.")
    sample["key"] = checked_text(str(sample["key"]), f"{line.where}: key") if keyed else f"{line.number:08d}"
    if sample["key"] in seen:
        raise DataError(f"{line.where}: key {sample['key']!r} is that of line {seen[sample['key']]} too: change one.")
    seen[sample["key"]] = line.number
    return sample


def _values(line: Line, ways: Mapping[str, Way]) -> dict[str, Any]:
    """Values by modality; a modality that is named with parts becomes a dict of them."""
    values: dict[str, Any] = {}
    with_parts = {name.partition(".")[0] for name in ways if "." in name}
    for field, way in ways.items():
        modality, _, part = field.partition(".")
        where = f"{line.where}, column {way.column.name!r}"
        cell = line.cells.get(way.column.name)
        if is_missing(cell):
            raise DataError(f"{where}: is empty, but every row needs {field!r}.")
        value = value_of(cell, where, way)
        if modality not in with_parts:
            values[modality] = value
            continue
        plain = not part and isinstance(value, list) and not is_numeric(value)
        values.setdefault(modality, {})["frames" if plain else part or "value"] = value
    return values


def _printable(key: str) -> str:
    return key.encode(errors="backslashreplace").decode()
