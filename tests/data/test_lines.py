"""Whatever wrote a manifest, its rows are read, or the first that cannot be is named."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from manifests import GOOD, folder, write

from pairalign.core.errors import DataError
from pairalign.data.manifest import Manifest

__all__ = ["folder"]  # the fixture


def test_files_that_are_no_manifest_are_refused(folder: Path) -> None:
    with pytest.raises(DataError, match="is no file"):
        Manifest(folder / "none.jsonl").read()
    with pytest.raises(DataError, match=r"use \.jsonl .* or \.csv"):
        Manifest(folder / "a.jpg").read()
    (folder / "m.csv").write_text("a,b\n1\n")
    with pytest.raises(DataError, match=r"m\.csv line 2: has another number of cells"):
        Manifest(folder / "m.csv").read()
    (folder / "m.jsonl").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(DataError, match="not UTF-8"):
        Manifest(folder / "m.jsonl").read()


def test_row_numbers_that_pandas_writes_are_no_modality(folder: Path) -> None:
    for header in ("", "Unnamed: 0", "index"):
        write(folder, f"{header},image,says", "0,a.jpg,cup", "1,b.jpg,bowl", name="m.csv")
        table = Manifest(folder / "m.csv", all_columns=True).table()
        assert list(table.fields) == ["image", "says"]
        assert table.left_out == (header or "column 1 (no name)",)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ('image;text\na.jpg;a cup, blue\nb.jpg;"a;b"\n', "utf-8"),
        ("image\ttext\r\na.jpg\ta cup, blue\r\nb.jpg\ta;b", "utf-8-sig"),
        ("image|text\na.jpg|a cup, blue\n\nb.jpg|a;b\n", "utf-16"),
        ("image|text\na.jpg|a cup, blue\n\nb.jpg|a;b\n", "utf-16-le"),
        ("image|text\na.jpg|a cup, blue\n\nb.jpg|a;b\n", "utf-16-be"),
        ('image,text\na.jpg,"a cup, blue"\nb.jpg,a;b', "utf-8"),
        ('image,text\n"a.jpg","a cup, blue"\n"b.jpg","a;b"\n', "utf-8"),
    ],
)
def test_csv_of_any_delimiter_and_encoding(text: str, encoding: str, folder: Path) -> None:
    (folder / "m.csv").write_bytes(text.encode(encoding))
    assert [s["text"] for s in Manifest(folder / "m.csv").read()] == ["a cup, blue", "a;b"]


def test_csv_cells_may_be_long_and_hold_new_lines(folder: Path) -> None:
    force = json.dumps([0.5] * 60_000)
    (folder / "m.csv").write_text(f'force,text\n"{force}","two\nlines"\n"[1, 2]",one\n"[1]"\n')
    limit = csv.field_size_limit()
    with pytest.raises(DataError, match=r"m\.csv line 5: has another number of cells than the header \(1 under 2\)"):
        Manifest(folder / "m.csv").read()
    bad: dict[str, str] = {}
    found = Manifest(folder / "m.csv").read(bad.__setitem__)
    assert (len(found[0]["force"]), found[0]["text"], list(bad)) == (60_000, "two\nlines", ["00000005"])
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image,text,text\na.jpg,a,b\n", r"m\.csv' has two columns 'text'"),
        ("a;b,c\n1;2,3\n", r"may be separated by ',' or ';': say which"),
        ('image,text\na.jpg,"never closed\nb.jpg,cup\n', r"m\.csv line 2: no valid CSV"),
        ('"image,text\na.jpg,cup\n', r"m\.csv line 1: no valid CSV"),
    ],
)
def test_csv_that_would_lose_something_is_refused(text: str, words: str, folder: Path) -> None:
    (folder / "m.csv").write_text(text)
    with pytest.raises(DataError, match=words):
        Manifest(folder / "m.csv").read()


def test_a_tsv_is_separated_by_tabs(folder: Path) -> None:
    (folder / "m.tsv").write_text("image\ttext, long\na.jpg\tcup, blue\n")
    assert Manifest(folder / "m.tsv", {"image": "image", "text": "text, long"}).read()[0]["text"] == "cup, blue"


def test_the_delimiter_can_be_said(folder: Path) -> None:
    (folder / "m.csv").write_text("image~text\na.jpg~cup\n")
    assert Manifest(folder / "m.csv", delimiter="~").read()[0]["text"] == "cup"
    with pytest.raises(DataError, match="delimiter=';;': give one character"):
        Manifest(folder / "m.csv", delimiter=";;").read()


def test_json_may_be_one_list(folder: Path) -> None:
    (folder / "m.json").write_text(json.dumps([{"image": "a.jpg", "text": "cup"}, 3], indent=1))
    with pytest.raises(DataError, match=r"m\.json entry 2: holds a int"):
        Manifest(folder / "m.json").read()
    bad: dict[str, str] = {}
    assert [s["text"] for s in Manifest(folder / "m.json").read(bad.__setitem__)] == ["cup"]


def test_parquet_reads_the_same(folder: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    rows = {
        "image": ["a.jpg", "b.jpg"],
        "answer": ["3", "yes"],
        "force": [[1.0, 2.0], [3.0, 4.0]],
        "__index_level_0__": [4, 9],
    }
    pyarrow.parquet.write_table(pa.table(rows), folder / "m.parquet")
    table = Manifest(folder / "m.parquet").table()
    assert [s["answer"] for s in table.samples()] == ["3", "yes"]
    assert table.left_out == ("__index_level_0__",)
    (folder / "m.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match=r"m\.parquet' is no parquet file"):
        Manifest(folder / "m.parquet").read()


@pytest.mark.parametrize("line", ['{"text": "a", "text": "b"}', "[" * 5000 + "]" * 5000, "nonsense"])
def test_a_line_that_cannot_be_read_is_one_bad_row(line: str, folder: Path) -> None:
    path = write(folder, GOOD, line)
    with pytest.raises(DataError, match=r"m\.jsonl line 2: no valid JSON"):
        Manifest(path).read()
    bad: dict[str, str] = {}
    assert [s["key"] for s in Manifest(path).read(bad.__setitem__)] == ["k"]
    assert list(bad) == ["00000002"]
