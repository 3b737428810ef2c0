"""What a manifest's column holds: files, numbers or text, decided once over all of its cells.

    path     names of files, relative to the root         number   a number, or a list of numbers
    text     the words as they are written                parts    objects: {"value": …, "background": …}

The rule, where nobody says it. A JSON string is never a number; numbers beside text are text, spelled as JSON spells
them. In CSV, where every cell is text, a column is of numbers only if each cell spells one ("3", "[1, 2]") and it is
not called as texts are (answer, caption, …); "007" and "3 mm" are text, and then so is the whole column. A column of
file names is one of files, and a cell that names none is a bad one.

Note:
    What could be meant either way (lists that are no JSON, decimal commas, true and false, a few existing files among
    words) is refused with the two words to choose from, never guessed.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pairalign.core.errors import DataError
from pairalign.core.limits import parse_json
from pairalign.data.encode import is_numeric
from pairalign.data.formats import READ, extension_of, known_extension, names_file, without_end
from pairalign.data.made import Made
from pairalign.data.rows import checked_text
from pairalign.data.sources import read_member
from pairalign.files import stays_inside

KINDS = ("auto", "path", "value", "text", "number")
_FILE = re.compile(
    r"[^\n\r\t]{0,4000}\.([A-Za-z][A-Za-z0-9]{1,7})(::[^\n\r\t]{1,200})?\W{0,3}"
)  # also with a stray character behind it
_NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)?(\.\d*)?([eE][+-]?\d+)?")
_COMMA = re.compile(r"[+-]?\d+,\d+")
_TEXTS = re.compile(  # how people call a column of texts, also "text_en" and "caption2"
    r"(text|caption|description|instruction|prompt|question|answer|sentence|transcript|response|title)s?([_\d-].*)?|.*[_-]"
    r"(text|caption|description|instruction|prompt|question|answer|sentence|transcript|response|title)s?"
)
_MISSING = ("nan", "NaN", "None", "NULL", "null", "<NA>", "NaT")  # as programs write "there is nothing"


@dataclass(frozen=True)
class Column:
    """Where a field comes from: a column, and how its cells are read.

    guessed: nobody said so. note: what else there is to say of it.
    """

    name: str
    kind: str = "auto"
    guessed: bool = False
    note: str = ""

    @classmethod
    def parse(cls, text: str) -> Column:
        """`touch_diff` or `text:value`."""
        name, sign, kind = text.rpartition(":")
        return cls(name, kind) if sign and kind in KINDS else cls(text)


Leaf = tuple[str, Any]  # where it stands, and a cell, or an entry of a cell that is a list


def decide(column: Column, cells: Sequence[tuple[str, Any]], spelled: bool, base: Path) -> Column:
    """The column with its kind, from (where, cell) of every row; spelled: its cells are text that may spell numbers.

    Raises:
        DataError: it may be read in two ways, with the words to choose from.
    """
    if column.kind in ("path", "text", "number"):
        return column
    there = [(where, cell) for where, cell in cells if not is_missing(cell)]
    if there and 2 * sum(isinstance(cell, dict) for _, cell in there) >= len(there):
        return Column(column.name, "parts", guessed=True)
    found: dict[str, list[Leaf]] = {"number": [], "text": [], "path": [], "odd": []}
    for where, cell in there:
        for leaf in _leaves(cell):
            if not is_missing(leaf) and not (spelled and leaf.strip() in _MISSING):  # else it says nothing of the rest
                found[_kind_of(leaf, spelled, column)].append((where, leaf))
    odd = found["odd"]
    if odd and 2 * len(odd) >= sum(map(len, found.values())):
        where, leaf = odd[0]
        if isinstance(leaf, bool):
            raise _choose(column, f"{where} holds {str(leaf).lower()}", "text", "number")
        raise DataError(f"{where}, column {column.name!r}: a {type(leaf).__name__} is neither path, number nor text.")
    _settle_files(found, column, base)
    return _settled(found, column, spelled)


def _leaves(cell: Any) -> Iterable[Any]:
    """The cell, or what its list holds, where that is no list of numbers."""
    return cell if isinstance(cell, list) and not _numeric(cell) else (cell,)


def _kind_of(leaf: Any, spelled: bool, column: Column) -> str:
    if _numeric(leaf):
        return "number"
    if not isinstance(leaf, str):
        return "odd"
    if spelled and spelled_number(leaf) is not None:
        return "number"
    return "path" if column.kind == "auto" and _FILE.fullmatch(leaf) else "text"


def _settle_files(found: dict[str, list[Leaf]], column: Column, base: Path) -> None:
    """Leave either files or words in `found`: files, if half of the strings name some."""
    looks, words = found["path"], found["text"]
    half = 2 * len(looks) >= len(looks) + len(words)
    if looks and half and any(names_file(leaf) or _is_file(base, leaf.strip()) for _, leaf in looks):
        found["path"], found["text"] = looks + words, []
        return
    there = next((one for one in looks if _is_file(base, one[1].strip())), None)
    if there is not None:
        what = f"{there[0]} names the file {there[1]!r}, {len(words)} of {len(looks) + len(words)} cells name none"
        raise _choose(column, what, "path", "text")
    if looks and half and not any(re.search(r"\s", leaf.strip()) for _, leaf in looks):
        raise _choose(column, f"{looks[0][0]} has {looks[0][1][:60]!r}, and no such file is there", "path", "text")
    found["path"], found["text"] = [], looks + words


def _settled(found: dict[str, list[Leaf]], column: Column, spelled: bool) -> Column:
    numbers, words, files = found["number"], found["text"], found["path"]
    if files:
        if not numbers:
            return Column(column.name, "path", guessed=True)
        raise _choose(column, f"{files[0][0]} names a file, {numbers[0][0]} holds a number", "path", "text")
    if not words:
        return _all_numbers(column, numbers, spelled)
    listed = next((one for one in numbers if isinstance(one[1], list) or str(one[1]).strip()[:1] == "["), None)
    if listed is not None:
        what = f"{listed[0]} holds a list of numbers, {words[0][0]} {words[0][1][:40]!r}"
        raise _choose(column, what, "number", "text")
    if spelled:
        _check_spelling(column, words)
    note = f"{len(numbers)} of {len(numbers) + len(words)} cells are numbers, kept as they are written"
    return Column(column.name, "text", guessed=True, note=note if numbers else "")


def _all_numbers(column: Column, numbers: list[Leaf], spelled: bool) -> Column:
    """The column of cells that are all numbers, or that has no cell at all; of CSV what it is called decides."""
    if spelled and numbers and is_called_text(column.name) and not any(leaf.strip()[:1] == "[" for _, leaf in numbers):
        note = "for its name, though every cell spells a number; --kind NAME=number reads them so"
        return Column(column.name, "text", guessed=True, note=note)
    note = "every cell spells one; --kind NAME=text keeps the words" if spelled and numbers else ""
    return Column(column.name, "number" if numbers else "text", guessed=True, note=note)


def _check_spelling(column: Column, words: list[Leaf]) -> None:
    """Refuse CSV text that was meant as numbers: with a decimal comma, or as numpy prints a list."""
    where, word = words[0]
    if all(_COMMA.fullmatch(other.strip()) for _, other in words):
        raise _choose(column, f"{where} has {word!r}: numbers are written with a point", "number", "text")
    if all(other.strip()[:1] == "[" and other.strip()[-1:] == "]" for _, other in words):
        what = f"{where} has {word[:40]!r}, which is no JSON list: put commas between its numbers"
        raise _choose(column, what, "number", "text")


def _choose(column: Column, what: str, first: str, second: str) -> DataError:
    ways = f"`--kind NAME={first}` or `--kind NAME={second}`"
    return DataError(f"column {column.name!r} may be of kind {first} or {second} ({what}): say which, with {ways}.")


def is_called_text(name: str) -> bool:
    """Whether a column is called as columns of texts are: caption, answer, text_en, …"""
    return bool(_TEXTS.fullmatch(name.lower()))


def spelled_number(text: str) -> Any:
    """The number or list of numbers that a text spells, else None."""
    text = text.strip()
    if text[:1] == "[":
        try:
            value = parse_json(text)
        except (ValueError, RecursionError):
            return None
        return value if _numeric(value) else None
    if not _NUMBER.fullmatch(text) or not any(sign.isdigit() for sign in text):
        return None
    try:
        return int(text)
    except ValueError:
        return float(text)


def is_missing(cell: Any) -> bool:
    """Whether a cell says that there is nothing: null, NaN, or blank text."""
    if isinstance(cell, str):
        return not cell.strip()
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


class Links:
    """Which files of a root lie, by whatever links, outside of it; the folders that were looked at are remembered."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.inside: dict[str, bool] = {}

    def leave(self, path: str) -> bool:
        """Whether a file of the root does."""
        if os.path.islink(path):
            return not stays_inside(path, self.root)
        folder = os.path.dirname(path)
        if folder not in self.inside:
            self.inside[folder] = stays_inside(folder, self.root)
        return not self.inside[folder]


class Way(NamedTuple):
    """How a column's cells become values. links: None follows every link."""

    column: Column
    spelled: bool
    base: Path
    links: Links | None = None


def value_of(cell: Any, where: str, way: Way) -> Any:
    """The value of one cell; raise `DataError` where it is not of its column's kind."""
    read = {"path": _path, "text": _text, "number": _number, "parts": _parts}[way.column.kind]
    try:
        if not isinstance(cell, list) or way.column.kind == "parts" or _numeric(cell):
            return read(cell, where, way)
        if not cell:
            raise DataError(f"{where}: is an empty list.")
        for number, entry in enumerate(cell):
            if is_missing(entry):
                raise DataError(f"{where}: entry {number} of the list is empty.")
        return [read(entry, f"{where}, entry {number}", way) for number, entry in enumerate(cell)]
    except RecursionError:
        raise DataError(f"{where}: is nested too deeply: write numbers, text, or lists of these.") from None


def _text(cell: Any, where: str, way: Way) -> str:
    if isinstance(cell, str):
        if way.column.guessed and way.spelled and cell.strip() in _MISSING:
            fix = "leave the cell empty, or keep the word with `--kind NAME=text`"
            raise DataError(f"{where}: {cell!r} is how programs spell a missing value: {fix}.")
        return checked_text(cell, where)
    if way.column.guessed and not _numeric(cell):
        raise DataError(f"{where}: a {type(cell).__name__} is no text, as other rows have it: write a string.")
    return checked_text(json.dumps(cell, ensure_ascii=False, default=str), where)


def _number(cell: Any, where: str, way: Way) -> Any:
    if isinstance(cell, str):
        found = spelled_number(cell)
        if found is None:
            raise DataError(f"{where}: {cell[:60]!r} is no number: correct it, or read the column as text.")
        return found
    if isinstance(cell, bool) and not way.column.guessed:
        return int(cell)
    if not _numeric(cell):
        raise DataError(f"{where}: a {type(cell).__name__} is no number: write numbers, or lists of equal length.")
    return cell


def _path(cell: Any, where: str, way: Way) -> Path | Made:
    """A file, or the array of that name in an archive (`file.npz::name`)."""
    if not isinstance(cell, str):
        raise DataError(f"{where}: {cell!r} is no path: write a string, or map the column as a value.")
    cell, _, member = cell.partition("::")
    root = os.fspath(way.base)
    path = os.path.normpath(os.path.join(root, cell))
    if path != root and not path.startswith(root.rstrip(os.sep) + os.sep):
        raise DataError(f"{where}: path {cell!r} leaves the root: set a root above it.")
    if not _is_file(way.base, path):
        shown = cell if len(cell) <= 200 else f"{cell[:200]}…"
        whole = without_end(cell.lstrip())
        fix = f"take away what stands around {whole!r}" if _is_file(way.base, whole) else "or set the root folder"
        raise DataError(f"{where}: file {shown!r} does not exist: correct the path, {fix}.")
    if way.links is not None and way.links.leave(path):
        fix = "set a root above both, or take it with --follow-links (`Manifest(follow_links=True)`)"
        raise DataError(f"{where}: path {cell!r} is a link that leaves the root: {fix}.")
    known_extension(extension_of(cell), f"{where}: file {cell!r}")
    return Made(read_member, (Path(path), member)) if member else Path(path)


def _parts(cell: Any, where: str, way: Way) -> Any:
    """An object's entries, each by itself: a string that names a file is one, else it is text."""
    if not isinstance(cell, dict):
        raise DataError(f"{where}: {str(cell)[:60]!r} is no object, as other rows have it: write {{'value': …}}.")
    return {name: _part(entry, f"{where}, {name!r}", way) for name, entry in cell.items()}


def _part(entry: Any, where: str, way: Way) -> Any:
    if isinstance(entry, list) and not _numeric(entry):
        return [_part(one, where, way) for one in entry]
    if not isinstance(entry, str):
        return entry
    return _path(entry, where, way) if _extension(entry) in READ else checked_text(entry, where)


def _numeric(value: Any) -> bool:
    try:
        return is_numeric(value)
    except RecursionError:
        return False


def _extension(name: str) -> str:
    found = _FILE.fullmatch(name)
    return found[1].lower() if found else ""


def _is_file(base: Path, name: str) -> bool:
    return "\0" not in name and os.path.isfile(os.path.join(base, name.partition("::")[0]))
