"""Manifests: what a cell means, and that every mistake is reported with its line, its column and the fix."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from manifests import GOOD, folder, write

from pairalign.core.errors import DataError
from pairalign.data.manifest import Manifest

__all__ = ["folder"]  # the fixture


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


@pytest.mark.parametrize("key", ["", " ", None, True, ["k"], "half \ud83d"])
def test_a_key_that_is_none_is_refused(key: Any, folder: Path) -> None:
    path = write(folder, GOOD, {**GOOD, "key": key})
    with pytest.raises(DataError, match=r"line 2.*key"):
        Manifest(path).read()


@pytest.mark.parametrize("kinds", [{"text": "txt"}, {"txt": "text"}])
def test_a_kind_must_be_known_and_of_something_packed(kinds: dict[str, str], folder: Path) -> None:
    with pytest.raises(DataError, match=r"Did you mean 'text'"):
        Manifest(write(folder, GOOD), kinds=kinds).read()


def test_a_filter_spells_true_as_json_does(folder: Path) -> None:
    path = write(folder, {"text": "a", "ok": True}, {"text": "b", "ok": False})
    assert [s["text"] for s in Manifest(path, {"text": "text"}, where={"ok": "true"}).read()] == ["a"]


def test_a_column_id_is_the_key_where_it_can_be_one(folder: Path) -> None:
    rows = [{"id": f"s{n}", "image": f"{n}.jpg", "text": "t", "label": "cup"} for n in "ab"]
    table = Manifest(write(folder, *rows)).table()
    assert [sample["key"] for sample in table.samples()] == ["sa", "sb"]
    assert "  roles: key from column 'id'" in table.text().splitlines()
    assert Manifest(write(folder, *rows), {"image": "image", "name": "id:text"}).read()[0]["key"] == "00000001"
    for one in ("sb", None, 0.5, "s" * 40):  # repeated, missing, no whole number, too long
        samples = Manifest(write(folder, {**rows[0], "id": one}, rows[1])).read()
        assert [sample["key"] for sample in samples] == ["00000001", "00000002"]
