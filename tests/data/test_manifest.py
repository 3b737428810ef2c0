"""Manifests: what a cell means, and that every mistake is reported with its line, its column and the fix."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from pairalign.core.errors import DataError
from pairalign.data.manifest import Manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b.jpg", "bg.jpg", "f.npy", "deep/c.jpg"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_bytes(b"")
    return tmp_path / "data"


def write(folder: Path, *rows: dict[str, Any] | str, name: str = "m.jsonl") -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / name


def test_columns_become_modalities_roles_and_parts(folder: Path) -> None:
    row = {
        "id": 7,
        "photo": "a.jpg",
        "peak": "b.jpg",
        "bg": "bg.jpg",
        "gel": "digit",
        "says": "cup",
        "obj": "o1",
    }
    modalities = {
        "image": "photo",
        "touch": "peak",
        "touch.background": "bg",
        "touch.sensor": "gel",
        "text": "says:text",
    }
    samples = Manifest(write(folder, row), modalities, {"key": "id", "group": "obj"}).read()
    assert samples == [
        {
            "key": "7",
            "group": "o1",
            "image": folder / "a.jpg",
            "touch": {"value": folder / "b.jpg", "background": folder / "bg.jpg", "sensor": "digit"},
            "text": "cup",
        }
    ]


def test_without_a_mapping_every_column_that_is_no_role_is_a_modality(folder: Path) -> None:
    row = {"key": "k", "split": "val", "label": 3, "image": "a.jpg", "force": [1, 2.5], "text": "a cup"}
    assert Manifest(write(folder, row)).read() == [
        {
            "key": "k",
            "split": "val",
            "label": 3,
            "image": folder / "a.jpg",
            "force": [1, 2.5],
            "text": "a cup",
        }
    ]


def test_lists_are_frames_unless_they_are_numbers(folder: Path) -> None:
    path = write(folder, {"touch": ["a.jpg", "b.jpg"], "bg": "bg.jpg", "imu": [[1, 2], [3, 4]]})
    plain = Manifest(path, {"touch": "touch", "imu": "imu"}).read()[0]
    assert plain["touch"] == [folder / "a.jpg", folder / "b.jpg"]
    assert plain["imu"] == [[1, 2], [3, 4]]
    parts = Manifest(path, {"touch": "touch", "touch.background": "bg"}).read()[0]
    assert parts["touch"] == {"frames": [folder / "a.jpg", folder / "b.jpg"], "background": folder / "bg.jpg"}


def test_csv_reads_the_same_as_json_lines(folder: Path) -> None:
    rows = [
        {"image": "a.jpg", "force": [1, 2], "text": 'says "hi", twice'},
        {"image": "b.jpg", "force": 3, "text": "x"},
    ]
    with (folder / "m.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["image", "force", "text"])
        writer.writeheader()
        writer.writerows(rows)
    found = Manifest(folder / "m.csv").read()
    wanted = Manifest(write(folder, *rows)).read()
    assert [{**s, "key": None} for s in found] == [{**s, "key": None} for s in wanted]


def test_the_kind_of_a_column_overrides_the_guess(folder: Path) -> None:
    path = write(folder, {"a": "readme.txt", "b": "12", "c": "12"})
    sample = Manifest(path, {"a": "a:value", "b": "b:text", "c": "c"}).read()[0]
    assert (sample["a"], sample["b"], sample["c"]) == ("readme.txt", "12", "12")
    assert Manifest(path, {"c": "c:number"}).read()[0]["c"] == 12
    with pytest.raises(DataError, match=r"column 'b': file '12' does not exist"):
        Manifest(path, {"b": "b:path"}).read()


def test_rows_are_filtered_by_value(folder: Path) -> None:
    path = write(folder, *({"set": s, "text": s, "n": i} for i, s in enumerate("aabc")))
    texts = {"text": "text"}
    assert [s["text"] for s in Manifest(path, texts, where={"set": ["a", "c"]}).read()] == ["a", "a", "c"]
    assert [s["text"] for s in Manifest(path, texts, where={"set": "a", "n": "1"}).read()] == ["a"]
    with pytest.raises(DataError, match="no rows that match"):
        Manifest(path, texts, where={"set": "z"}).read()
    with pytest.raises(DataError, match=r"no column 'sett' to filter by. Did you mean 'set'"):
        Manifest(path, texts, where={"sett": "z"}).read()


def test_paths_are_relative_to_the_root_and_stay_inside(folder: Path) -> None:
    path = write(folder.parent, {"image": "deep/../a.jpg"})
    assert Manifest(path, root=folder).read()[0]["image"] == folder / "a.jpg"
    for outside in ("../data/a.jpg", str(folder / "a.jpg"), "deep/../../data/a.jpg"):
        if outside.startswith("/"):
            assert Manifest(write(folder, {"image": outside})).read()[0]["image"] == folder / "a.jpg"
        with pytest.raises(DataError, match=r"line 1, column 'image': path .* leaves the root"):
            Manifest(write(folder, {"image": outside}), root=folder / "deep").read()


GOOD = {"key": "k", "image": "a.jpg", "text": "t"}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([GOOD, "{"], r"m\.jsonl line 2: no valid JSON"),
        ([GOOD, "[1]"], r"m\.jsonl line 2: holds a list"),
        (
            [GOOD, {**GOOD, "key": "j", "image": "no.jpg"}],
            r"line 2, column 'image': file 'no\.jpg' does not exist",
        ),
        ([GOOD, "", GOOD], r"line 3: key 'k' is that of line 1 too"),
        (
            [GOOD, {"key": "j", "image": "a.jpg"}],
            r"line 2, column 'text': is empty, but every row needs 'text'",
        ),
        ([""], "holds no rows"),
    ],
)
def test_a_bad_row_is_reported_with_its_line(rows: list[Any], words: str, folder: Path) -> None:
    with pytest.raises(DataError, match=words):
        Manifest(write(folder, *rows)).read()


def test_bad_rows_are_handed_over_and_left_out_on_request(folder: Path) -> None:
    bad: dict[str, str] = {}
    path = write(folder, GOOD, {"key": "j", "image": "no.jpg", "text": "t"}, {"key": "i", "image": "b.jpg"})
    assert [s["key"] for s in Manifest(path).read(bad.__setitem__)] == ["k"]
    assert "no.jpg" in bad["j"]
    assert "'text'" in bad["i"]


@pytest.mark.parametrize(
    ("modalities", "columns", "words"),
    [
        ({"image": "imag"}, {}, r"no column 'imag' for modality 'image'. Did you mean 'image'"),
        ({"image": "image"}, {"key": "id"}, r"no column 'id' for key"),
        ({"image": "image"}, {"grup": "text"}, r"role 'grup' is unknown. Did you mean 'group'"),
        ({"label": "text"}, {}, r"modality 'label'"),
        ({"a b": "text"}, {}, r"modality 'a b'"),
    ],
)
def test_unknown_columns_and_names_get_a_suggestion(
    modalities: dict[str, str], columns: dict[str, str], words: str, folder: Path
) -> None:
    with pytest.raises(DataError, match=words):
        Manifest(write(folder, GOOD), modalities, columns).read()


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


def test_a_json_string_is_never_a_number(folder: Path) -> None:
    path = write(folder, *({"touch": [1.5, 2], "answer": answer} for answer in ("yes", "3", "[1, 2]", "360")))
    assert [s["answer"] for s in Manifest(path).read()] == ["yes", "3", "[1, 2]", "360"]
    path = write(folder, {"touch": [1.5, 2], "answer": "3"}, {"touch": [1, 2], "answer": "12"})
    assert [s["answer"] for s in Manifest(path).read()] == ["3", "12"]
    assert [s["answer"] for s in Manifest(path, kinds={"answer": "number"}).read()] == [3, 12]


def test_numbers_beside_text_are_text_as_they_are_written(folder: Path) -> None:
    rows = [{"touch": [1, 2], "answer": answer} for answer in ("yes", 3, 2.5)]
    table = Manifest(write(folder, *rows)).table()
    assert [s["answer"] for s in table.samples()] == ["yes", "3", "2.5"]
    assert "2 of 3 cells are numbers" in table.text()


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (["3", "12"], "number", [3, 12]),
        (["3", "-1.5e3", "[1, 2]"], "number", [3, -1500.0, [1, 2]]),
        (["3", "x"], "text", ["3", "x"]),
        (["007", "012"], "text", ["007", "012"]),
        (["3 mm", "4"], "text", ["3 mm", "4"]),
        (["true", "false"], "text", ["true", "false"]),
        (["1e400", "2"], "number", [float("inf"), 2]),
    ],
)
def test_a_csv_column_is_of_numbers_only_if_every_cell_spells_one(
    cells: list[str], kind: str, values: list[Any], folder: Path
) -> None:
    with (folder / "m.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["image", "x"], *(["a.jpg", cell] for cell in cells)])
    table = Manifest(folder / "m.csv").table()
    assert table.fields["x"].kind == kind
    assert [s["x"] for s in table.samples()] == values
    assert ("--kind x=text keeps the words" in table.text()) == (kind == "number")
    assert [s["x"] for s in Manifest(folder / "m.csv", kinds={"x": "text"}).read()] == cells


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ([True, False], r"'x' may be of kind text or number \(m\.jsonl line 1 holds true\)"),
        ([[1, 2], "soft"], r"may be of kind number or text .*list of numbers.*'soft'"),
        (
            ["a.jpg", "a cup", "a bowl"],
            r"may be of kind path or text .*names the file 'a\.jpg', 2 of 3 cells name none",
        ),
        (["one.webq", "two.webq"], r"may be of kind path or text .*'one\.webq', and no such file is there"),
        (["a.jpg", 3], r"may be of kind path or text .*names a file.*holds a number"),
    ],
)
def test_what_may_be_read_in_two_ways_is_refused_with_both(cells: list[Any], words: str, folder: Path) -> None:
    path = write(folder, *({"x": cell} for cell in cells))
    with pytest.raises(DataError, match=words):
        Manifest(path).read()
    assert len(Manifest(path, kinds={"x": "text"}).read()) == len(cells)


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["3,5", "4,25"], "numbers are written with a point"),
        (["[1. 2.]", "[3. 4.]"], "no JSON list: put commas between"),
    ],
)
def test_csv_numbers_in_another_spelling_are_no_captions(cells: list[str], words: str, folder: Path) -> None:
    write(folder, "x;image", *(f"{cell};a.jpg" for cell in cells), name="m.csv")
    with pytest.raises(DataError, match=words):
        Manifest(folder / "m.csv", {"x": "x"}).read()


def test_a_cell_that_is_not_of_its_columns_kind_is_a_bad_one(folder: Path) -> None:
    images: list[Any] = [
        "a.jpg",
        "b.jpg",
        "a.jpg ",
        "a.jpg;",
        "a cup",
        "a\0.jpg",
        "x" * 5000 + ".jpg",
        ["a.jpg", None],
        {},
    ]
    path = write(
        folder, *({"key": str(i), "image": image, "text": "t"} for i, image in enumerate([*images, *images[:2]]))
    )
    path.write_text(path.read_text().replace('"10"', '"k"').replace('"9"', '"j"'))
    bad: dict[str, str] = {}
    assert [s["key"] for s in Manifest(path).read(bad.__setitem__)] == ["0", "1", "j", "k"]
    assert list(bad) == ["2", "3", "4", "5", "6", "7", "8"]
    assert "take away what stands around 'a.jpg'" in bad["2"]
    assert "take away" in bad["3"]
    assert "entry 1 of the list is empty" in bad["7"]


@pytest.mark.parametrize("cell", [None, "", "  ", float("nan")])
def test_nothing_is_never_spelled_as_a_word(cell: Any, folder: Path) -> None:
    path = write(folder, GOOD, {**GOOD, "key": "j", "text": cell})
    with pytest.raises(DataError, match=r"line 2, column 'text': is empty"):
        Manifest(path).read()


def test_words_for_nothing_in_csv_are_refused_unless_they_are_wanted(folder: Path) -> None:
    write(folder, "image,text", "a.jpg,soft", "b.jpg,nan", name="m.csv")
    with pytest.raises(DataError, match=r"line 3, column 'text': 'nan' is how programs spell a missing value"):
        Manifest(folder / "m.csv").read()
    assert Manifest(folder / "m.csv", kinds={"text": "text"}).read()[1]["text"] == "nan"
    write(folder, "image,force", "a.jpg,3", "b.jpg,nan", name="m.csv")
    with pytest.raises(DataError, match=r"line 3, column 'force': 'nan' is no number"):
        Manifest(folder / "m.csv").read()


def test_columns_that_nobody_named_are_listed_and_left_out(folder: Path) -> None:
    row = {
        "touch": "f.npy",
        "image": "a.jpg",
        "caption_en": "cup",
        "force": [1, 2],
        "who": "ann",
        "stamp": 17.5,
        "n b": 1,
    }
    path = write(folder, row)
    table = Manifest(path).table()
    assert list(table.fields) == ["touch", "image", "caption_en", "force"]
    assert "left out, nobody named them: who, stamp, n b" in table.text()
    named = Manifest(path, {"touch": "touch", "says": "who"}).table()
    assert (list(named.fields), named.left_out) == (["touch", "says"], ("image", "caption_en", "force", "stamp", "n b"))
    path = write(folder, {name: value for name, value in row.items() if name != "n b"})
    assert list(Manifest(path, all_columns=True).table().fields) == [
        "touch",
        "image",
        "caption_en",
        "force",
        "who",
        "stamp",
    ]
    few = write(folder, {"touch": "f.npy", "who": "ann", "stamp": 17.5})
    assert list(Manifest(few).table().fields) == ["touch", "who", "stamp"]
    assert Manifest(write(folder, {"text": "t", "meta": 3, "splits": 4})).table().left_out == ("meta", "splits")


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


@pytest.mark.parametrize("key", ["", " ", None, True, ["k"], "half \ud83d"])
def test_a_key_that_is_none_is_refused(key: Any, folder: Path) -> None:
    path = write(folder, GOOD, {**GOOD, "key": key})
    with pytest.raises(DataError, match=r"line 2.*key"):
        Manifest(path).read()


@pytest.mark.parametrize("kinds", [{"text": "txt"}, {"txt": "text"}])
def test_a_kind_must_be_known_and_of_something_packed(kinds: dict[str, str], folder: Path) -> None:
    with pytest.raises(DataError, match=r"Did you mean 'text'"):
        Manifest(write(folder, GOOD), kinds=kinds).read()


def documented() -> list[tuple[str, list[str], str]]:
    """(file, cells, read as) of the table in the docs."""
    page = (Path(__file__).parents[2] / "docs" / "manifests.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (JSON|CSV) \| (.*) \| (.*) \|$", page, re.M)
    return [(file, re.findall(r"`(.*?)`", cells), told) for file, cells, told in rows]


@pytest.mark.parametrize(("file", "cells", "told"), documented())
def test_the_table_in_the_docs_is_true(file: str, cells: list[str], told: str, folder: Path) -> None:
    for name in ("a.npy", "b.npy"):
        (folder / name).write_bytes(b"")
    if file == "JSON":
        path = write(folder, *({"x": json.loads(cell)} for cell in cells))
    else:
        path = folder / "m.csv"
        with path.open("w", newline="") as stream:
            csv.writer(stream).writerows([["x", "force"], *([cell, "[1]"] for cell in cells)])
    refused = re.fullmatch(r"refused: say (\w+) or (\w+)", told)
    if refused:
        with pytest.raises(DataError, match=f"may be of kind {refused[1]} or {refused[2]}"):
            Manifest(path, {"x": "x"}).read()
        return
    kind, _, bad = told.partition(": the ")
    table, skipped = Manifest(path, {"x": "x"}).table(), []
    assert table.fields["x"].kind == kind
    assert len(list(table.samples(lambda key, reason: skipped.append(key)))) == len(cells) - len(skipped)
    wanted = [f"{len(cells):08d}" if file == "JSON" else f"{len(cells) + 1:08d}"] if bad else []
    assert skipped == wanted


def test_the_docs_have_a_table() -> None:
    assert len(documented()) > 20


def test_csv_numbers_in_a_column_of_answers_are_words(folder: Path) -> None:
    write(folder, "image,answer,force", "a.jpg,3,3", "b.jpg,12,12", name="m.csv")
    table = Manifest(folder / "m.csv", all_columns=True).table()
    assert [(s["answer"], s["force"]) for s in table.samples()] == [("3", 3), ("12", 12)]
    assert "--kind answer=number reads them so" in table.text()
    assert Manifest(folder / "m.csv", kinds={"answer": "number"}).read()[1]["answer"] == 12


def test_a_filter_spells_true_as_json_does(folder: Path) -> None:
    path = write(folder, {"text": "a", "ok": True}, {"text": "b", "ok": False})
    assert [s["text"] for s in Manifest(path, {"text": "text"}, where={"ok": "true"}).read()] == ["a"]
