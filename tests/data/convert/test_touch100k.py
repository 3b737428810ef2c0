"""Touch100k: both kinds of caption, both forms of the list, and what it leaves out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from miniature import convert, cut, picture, read_back

from pairalign.cli.main import main
from pairalign.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five recordings; 12 has no touch though 120 has, one is cut, one has no caption, one is doubled."""
    home = tmp_path / "touch100k"
    names = [*(f"rec{r}_{f}.jpg" for r in "abcd" for f in (1, 2)), "rece_12.jpg", "rece_120.jpg"]
    lines = []
    for number, name in enumerate(names):
        picture(home / "vision" / name, number)
        if name != "rece_12.jpg":
            picture(home / "touch" / name, 50 + number, flat=0.9)
        lines.append({"img": name, "sentence_desc": f"A {number}.", "phrase_desc": f"phrase {number}"})
    lines[3]["sentence_desc"] = " "
    cut(home / "touch" / "recc_1.jpg")
    (home / "data_list.json").write_text("".join(json.dumps(line) + "\n" for line in [*lines, lines[0]]))
    return home


def test_captions_recordings_and_what_is_left_out(folder: Path, tmp_path: Path) -> None:
    done = convert("touch100k", folder, tmp_path / "out")
    found = read_back(tmp_path / "out")
    assert set(found) == {"reca_1", "reca_2", "recb_1", "recc_2", "recd_1", "recd_2", "rece_120"}
    assert done.report["reasons"] == {"missing touch file": 1, "empty caption": 1, "named twice": 1, "touch": 1}
    assert found["recd_2"].values["text"] == "A 7."
    assert found["recd_2"].meta["phrase"] == "phrase 7"
    assert found["recd_1"].meta["session"] == found["recd_2"].meta["session"] == "recd"


def test_phrases_of_a_plain_list_by_the_command(folder: Path, tmp_path: Path) -> None:
    path = folder / "data_list.json"
    path.write_text(json.dumps([json.loads(line) for line in path.read_text().splitlines()]))
    command = ["data", "convert", "touch100k", str(folder.parent), "-o", str(tmp_path / "out"), "--quiet"]
    assert main([*command, "--option", "text=phrase"]) == 0
    assert read_back(tmp_path / "out")["recb_2"].values["text"] == "phrase 3"


@pytest.mark.parametrize(
    ("line", "words"), [("{", "line 1: no valid JSON"), ('{"image": "a.jpg"}', "entry 1: has no 'img'")]
)
def test_a_damaged_list_is_named(folder: Path, tmp_path: Path, line: str, words: str) -> None:
    (folder / "data_list.json").write_text(line + "\n")
    with pytest.raises(DataError, match=words):
        convert("touch100k", folder, tmp_path / "out")
