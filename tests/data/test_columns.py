"""A column holds one kind of thing, decided over all of its cells; nothing becomes something else in silence."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from manifests import GOOD, folder, write

from pairalign.core.errors import DataError
from pairalign.data.manifest import Manifest

__all__ = ["folder"]  # the fixture


def test_lists_are_frames_unless_they_are_numbers(folder: Path) -> None:
    path = write(folder, {"touch": ["a.jpg", "b.jpg"], "bg": "bg.jpg", "imu": [[1, 2], [3, 4]]})
    plain = Manifest(path, {"touch": "touch", "imu": "imu"}).read()[0]
    assert plain["touch"] == [folder / "a.jpg", folder / "b.jpg"]
    assert plain["imu"] == [[1, 2], [3, 4]]
    parts = Manifest(path, {"touch": "touch", "touch.background": "bg"}).read()[0]
    assert parts["touch"] == {"frames": [folder / "a.jpg", folder / "b.jpg"], "background": folder / "bg.jpg"}


def test_the_kind_of_a_column_overrides_the_guess(folder: Path) -> None:
    path = write(folder, {"a": "readme.txt", "b": "12", "c": "12"})
    sample = Manifest(path, {"a": "a:value", "b": "b:text", "c": "c"}).read()[0]
    assert (sample["a"], sample["b"], sample["c"]) == ("readme.txt", "12", "12")
    assert Manifest(path, {"c": "c:number"}).read()[0]["c"] == 12
    with pytest.raises(DataError, match=r"column 'b': file '12' does not exist"):
        Manifest(path, {"b": "b:path"}).read()


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
