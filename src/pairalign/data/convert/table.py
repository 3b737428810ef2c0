"""CSV tables whose columns are found by their header's names, never by their place.

Note:
    A name is read without regard to case, blanks and a stray `;` around it, which other readers make part of the name,
    so that every cell of that column goes astray. A line with more or fewer cells than the header is left out and said,
    as a caption with commas and without quotes makes it; nothing is guessed.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from pairalign.core.errors import DataError, did_you_mean
from pairalign.data.convert.dataset_format import Skip
from pairalign.data.lines import long_cells


def read_table(path: Path, needed: Sequence[str], skip: Skip) -> Iterator[dict[str, str]]:
    """Cell by column name, for each line; raise `DataError` where the header lacks a needed name or has one twice."""
    try:
        with long_cells(), path.open(encoding="utf-8-sig", newline="") as stream:
            lines = csv.reader(stream)
            names = [clean(name) for name in next(lines, [])]
            check_header(path, names, needed)
            for cells in lines:
                if len(cells) == len(names):
                    yield dict(zip(names, (cell.strip() for cell in cells), strict=True))
                elif any(cells):
                    where = f"{path.parent.name}/{path.name} line {lines.line_num}"
                    skip(where, f"uneven line: {len(cells)} cells under {len(names)} columns")
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path.parent.name}/{path.name} is no CSV in UTF-8 ({error}): copy it again.") from error


def clean(name: str) -> str:
    """A column's name as it was meant."""
    return name.strip(" \t;").casefold()


def check_header(path: Path, names: Sequence[str], needed: Sequence[str]) -> None:
    """Raise `DataError` for a needed column that is not there, and for a name that stands for two."""
    where = f"{path.parent.name}/{path.name}"
    if len(names) == 1 and ";" in names[0]:
        raise DataError(f"{where}: the header {names[0]!r} separates its columns by ';': save the table with commas.")
    for name in needed:
        if name not in names:
            raise DataError(f"{where} has no column {name!r}.{did_you_mean(name, names)}")
    twice = [name for name, count in Counter(names).items() if count > 1 and name]
    if twice:
        raise DataError(f"{where} has two columns {twice[0]!r}: rename one of them.")
