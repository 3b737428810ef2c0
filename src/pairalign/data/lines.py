"""The rows of a manifest file, whatever wrote it: JSON lines, a JSON list, CSV with its delimiter, parquet.

Note:
    CSV knows only text, so an empty cell is a missing one, and what its other cells are is decided by `columns`, over
    the whole column. The delimiter is the one of `, ; tab |` under which header and first rows have the same number of
    cells. A row that cannot be read is a bad row, not the end: it carries its reason.
"""

from __future__ import annotations

import codecs
import csv
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairalign.core.errors import DataError
from pairalign.core.limits import check, limit, parse_json

DELIMITERS = {",": "','", ";": "';'", "\t": "tab", "|": "'|'"}
_CELL = 2**31 - 1  # bytes of one CSV cell: a whole recording fits
_TOGETHER = 256  # rows of a parquet file that are unpacked at once
_PEEK = 20  # rows by which a delimiter is judged
_UNNAMED = re.compile(r"Unnamed: \d+|__index_level_\d+__")  # as pandas calls the row numbers that it writes
_BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


@dataclass(frozen=True)
class Line:
    """One row. where: how an error calls it. bad: why it cannot be read, else None."""

    number: int
    cells: Mapping[str, Any]
    where: str
    bad: str | None = None


@dataclass(frozen=True)
class Lines:
    """All rows, the columns in order, and how they were read.

    spelled: every cell is text, as CSV has it. form: of the file, for people. unnamed: columns that only number the
    rows, or have no name at all.
    """

    rows: list[Line]
    columns: tuple[str, ...]
    form: str
    spelled: bool = False
    unnamed: tuple[str, ...] = ()


def read_lines(path: Path, delimiter: str | None = None) -> Lines:
    """Every row of a manifest; raise `DataError` for a file that is none, or whose columns cannot be told apart."""
    if not path.is_file():
        raise DataError(f"manifest {str(path)!r} is no file: give a .jsonl or .csv file.")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"manifest {path.name!r}: use .jsonl (JSON lines) or .csv, or .json, .tsv, .parquet.")
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise DataError(f"delimiter={delimiter!r}: give one character, such as ';' or a tab.")
    check("table", path.stat().st_size, f"manifest {path.name!r}")
    try:
        return reader(path, delimiter)
    except UnicodeError as error:
        reason = getattr(error, "reason", error)
        raise DataError(f"manifest {path.name!r} is not UTF-8 ({reason}): save it as UTF-8, or UTF-16.") from error


def _encoding(path: Path) -> str:
    with path.open("rb") as stream:
        start = stream.read(4)
    if (marked := next((name for mark, name in _BOMS.items() if start.startswith(mark)), None)) is not None:
        return marked
    zeros = [place for place, byte in enumerate(start) if not byte]  # of UTF-16 whose mark is gone
    return "utf-16-le" if zeros == [1, 3] else "utf-16-be" if zeros == [0, 2] else "utf-8"


def _json(path: Path, delimiter: str | None) -> Lines:
    encoding = _encoding(path)
    with path.open(encoding=encoding) as stream:
        first = next((text.lstrip() for text in iter(lambda: stream.readline(4096), "") if text.strip()), "")
        stream.seek(0)
        if first.startswith("["):
            rows, form = list(_json_list(stream.read(), path)), "JSON"
        else:
            rows, form = list(_json_lines(stream, path)), "JSON lines"
    return _finished(rows, form)


def _json_lines(stream: Any, path: Path) -> Iterator[Line]:
    for number, text in enumerate(_bounded(stream, path), start=1):
        if text.strip():
            where = f"{path.name} line {number}"
            try:
                cells = _parsed(text)
            except (ValueError, DataError) as error:
                yield Line(number, {}, where, f"no valid JSON ({error}): write one object a line.")
                continue
            yield _object(number, cells, where, "one JSON object a line")


def _bounded(stream: Any, path: Path) -> Iterator[str]:
    """The lines of a file; `DataError` for one of more characters than a text may have, before it is read whole."""
    most = limit("text")
    for number in itertools.count(1):
        line = stream.readline(most + 1)
        if not line:
            return
        if len(line) > most:
            check("text", len(line), f"{path.name} line {number}")
        yield line


def _json_list(text: str, path: Path) -> Iterator[Line]:
    try:
        found = _parsed(text, "table")
    except ValueError as error:
        raise DataError(
            f"manifest {path.name!r}: no valid JSON ({error}): write a list of objects, or one object a line (.jsonl)."
        ) from error
    if not isinstance(found, list):
        raise DataError(f"manifest {path.name!r} holds a {type(found).__name__}: write a JSON list of objects.")
    for number, cells in enumerate(found, start=1):
        yield _object(number, cells, f"{path.name} entry {number}", "objects in that list")


def _object(number: int, cells: Any, where: str, wanted: str) -> Line:
    if isinstance(cells, dict):
        return Line(number, cells, where)
    return Line(number, {}, where, f"holds a {type(cells).__name__}: write {wanted}.")


def _parsed(text: str, bound: str = "text") -> Any:
    """JSON in which no name stands twice; `ValueError` for what is none."""
    return parse_json(text, "it", bound, object_pairs_hook=_without_twins)


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} stands there twice: rename one of them")
    return found


def _csv(path: Path, delimiter: str | None) -> Lines:
    if delimiter is None:
        delimiter = _delimiter_of(path)
    rows: list[Line] = []
    with _reading(path, delimiter) as reader:
        header = [name.strip() for name in _next_row(reader, f"{path.name} line 1") or []]
        _check_header(path, header)
        named = [(place, name) for place, name in enumerate(header) if name]
        start = reader.line_num + 1
        while True:
            where = f"{path.name} line {start}"
            cells = _next_row(reader, where)
            if cells is None:
                break
            if len(cells) == len(header):
                rows.append(Line(start, {name: cells[place] or None for place, name in named}, where))
            elif cells:
                quoted = f"quote cells with {DELIMITERS.get(delimiter, repr(delimiter))} in them"
                counts = f"{len(cells)} under {len(header)}"
                bad = f"has another number of cells than the header ({counts}): {quoted}, or set the delimiter."
                rows.append(Line(start, {}, where, bad))
            start = reader.line_num + 1
    unnamed = tuple(f"column {place + 1} (no name)" for place, name in enumerate(header) if not name)
    form = f"CSV, separated by {DELIMITERS.get(delimiter, repr(delimiter))}"
    found = _finished(rows, form, spelled=True, columns=tuple(name for _, name in named))
    return Lines(found.rows, found.columns, form, True, (*unnamed, *found.unnamed))


def _next_row(reader: Any, where: str) -> list[str] | None:
    try:
        return next(reader, None)
    except csv.Error as error:
        raise DataError(f"{where}: no valid CSV ({error}): correct its quotes, or set the delimiter.") from error


@contextmanager
def _reading(path: Path, delimiter: str) -> Iterator[Any]:
    with long_cells(), path.open(encoding=_encoding(path), newline="") as stream:
        yield csv.reader(_bounded(stream, path), delimiter=delimiter, strict=True)


@contextmanager
def long_cells() -> Iterator[None]:
    """Let CSV cells be as long as a recording, where Python stops at 131,072 characters; the limit is the process's."""
    before = csv.field_size_limit(_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _check_header(path: Path, names: list[str]) -> None:
    for name in names:
        if name and names.count(name) > 1:
            raise DataError(f"manifest {path.name!r} has two columns {name!r}: rename one of them.")


def _delimiter_of(path: Path) -> str:
    """The delimiter under which the header has several cells and the first rows as many; a comma if there is none."""
    fitting, most = [], (1, ",")
    for delimiter in DELIMITERS:
        try:
            with _reading(path, delimiter) as reader:
                widths = [len(cells) for cells in itertools.islice(reader, _PEEK) if cells]
        except csv.Error:
            continue
        if widths and widths[0] > 1:
            most = max(most, (widths[0], delimiter), key=lambda found: found[0])
            if set(widths) == {widths[0]}:
                fitting.append(delimiter)
    if "\t" in fitting and path.suffix.lower() != ".csv":
        return "\t"
    if len(fitting) > 1:
        named = " or ".join(DELIMITERS[found] for found in fitting)
        raise DataError(
            f"manifest {path.name!r} may be separated by {named}: say which (--delimiter, `Manifest(delimiter=…)`)."
        )
    return fitting[0] if fitting else most[1]


def _parquet(path: Path, delimiter: str | None) -> Lines:
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise DataError(f"manifest {path.name!r} is read by pyarrow: pip install 'pairalign[hub]'.") from None
    try:
        rows = list(_parquet_rows(parquet.ParquetFile(path)))
    except DataError:
        raise
    except Exception as error:  # pyarrow's own errors, and those of the disk
        raise DataError(f"manifest {path.name!r} is no parquet file ({error}): write it again.") from error
    found = [Line(number, cells, f"{path.name} row {number}") for number, cells in enumerate(rows, start=1)]
    return _finished(found, "parquet")


def _parquet_rows(file: Any) -> Iterator[dict[str, Any]]:
    """The rows, a few at a time: a page that repeats one value takes no space before it is spelled out."""
    about, total = file.metadata, 0
    check("cells", about.num_rows * about.num_columns, "the table")
    for batch in file.iter_batches(_TOGETHER):
        total += batch.nbytes
        check("table", total, "the table, unpacked,")
        yield from batch.to_pylist()


def _finished(rows: list[Line], form: str, *, spelled: bool = False, columns: tuple[str, ...] = ()) -> Lines:
    names = columns or tuple(dict.fromkeys(name for row in rows for name in row.cells))
    unnamed = tuple(name for name in names if not name or _numbers_rows(name, rows))
    return Lines(rows, names, form, spelled, unnamed)


def _numbers_rows(name: str, rows: list[Line]) -> bool:
    """Whether a column is the index that pandas writes: by its name, or called "index" and counting up."""
    if _UNNAMED.fullmatch(name):
        return True
    if name != "index":
        return False
    cells = [str(row.cells.get(name)) for row in rows if row.bad is None]
    return cells in ([str(n) for n in range(len(cells))], [str(n + 1) for n in range(len(cells))])


_READERS: dict[str, Callable[[Path, str | None], Lines]] = {
    ".jsonl": _json,
    ".ndjson": _json,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _csv,
    ".tab": _csv,
    ".parquet": _parquet,
}
