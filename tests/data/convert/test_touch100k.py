"""Touch100k: both forms of the list, either caption, and recordings as far as names tell them."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from miniature import convert, cut, picture, read_back

from pairalign.cli.main import main
from pairalign.core.errors import DataError
from pairalign.data.index import load_index

NAMES = [
    "20220510_111110_0000000012.jpg",
    "20220510_111110_0000000120.jpg",
    "20220611_090000_0000000012.jpg",
    "12.jpg",
    "120.jpg",
    "rec_7/frame_1.jpg",
    "rec_7/frame_2.jpg",
    "cut.jpg",
    "gone.jpg",
    "silent.jpg",
]


def entries() -> list[dict[str, Any]]:
    found = [
        {"img": name, "sentence_desc": f"Sample {place} is hard.", "phrase_desc": f"hard, no {place}"}
        for place, name in enumerate(NAMES)
    ]
    found[9]["sentence_desc"] = "  "
    return [*found, dict(found[3])]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten frames: one file missing, one cut, one without a sentence, one listed twice."""
    home = tmp_path / "data" / "touch100k"
    for place, name in enumerate(NAMES):
        picture(home / "vision" / name, 2 * place)
        picture(home / "touch" / name, 2 * place + 1)
    (home / "touch" / "gone.jpg").unlink()
    cut(home / "vision" / "cut.jpg")
    (home / "data_list.json").write_text("\n".join(json.dumps(entry) for entry in entries()) + "\n\n")
    return home.parent


def test_samples_and_what_is_left_out(folder: Path, tmp_path: Path) -> None:
    done = convert("touch100k", folder, tmp_path / "out")
    found = read_back(tmp_path / "out")
    assert done.report["reasons"] == {"missing touch file": 1, "no sentence": 1, "listed twice": 1, "image": 1}
    assert set(found) == {name.removesuffix(".jpg") for name in NAMES[:7]}
    assert found["12"].values["text"] == "Sample 3 is hard."
    assert found["120"].values["text"] == "Sample 4 is hard."
    assert found["12"].meta["phrase"] == "hard, no 3"
    assert done.report["splits"]["train"] == 7
    assert list(load_index(tmp_path / "out").splits) == ["train"]


def test_each_side_is_its_own_files_byte_for_byte(folder: Path, tmp_path: Path) -> None:
    convert("touch100k", folder, tmp_path / "out")
    shards = b"".join(path.read_bytes() for path in (tmp_path / "out").glob("*.tar"))
    for side in ("vision", "touch"):
        assert (folder / "touch100k" / side / "12.jpg").read_bytes() in shards
    sample = read_back(tmp_path / "out")["12"]
    vision = (folder / "touch100k" / "vision" / "12.jpg").stat().st_size
    assert sample.values["image"].size == (32, 24)
    member = next(info for info in _members(tmp_path / "out") if info[0] == "12.image.jpg")
    assert member[1] == vision


def _members(out: Path) -> list[tuple[str, int]]:
    return [(member.name, member.size) for path in out.glob("*.tar") for member in tarfile.open(path)]


def test_recordings_stay_whole_and_unknown_ones_count_as_one(folder: Path, tmp_path: Path) -> None:
    done = convert("touch100k", folder, tmp_path / "out")
    sides: dict[str, set[str]] = {}
    for part in ("train", "val", "test"):
        for sample in read_back(tmp_path / "out", f"by_recording/{part}").values():
            sides.setdefault(sample.meta["session"], set()).add(part)
    assert sides.keys() == {"20220510_111110", "20220611_090000", "rec_7", "unknown"}
    assert all(len(parts) == 1 for parts in sides.values())
    assert "the recording of 3 frames is unknown" in done.report["suspected_swaps"][0]  # 12, 120 and the cut one


def test_phrases_of_a_plain_list(folder: Path, tmp_path: Path) -> None:
    listed = entries()
    listed[3]["phrase_desc"] = ["hard", " smooth "]  # type: ignore[assignment]
    (folder / "touch100k" / "data_list.json").write_text(json.dumps(listed, indent=1))
    done = convert("touch100k", folder, tmp_path / "out", options={"text": "phrase"})
    found = read_back(tmp_path / "out")
    assert found["12"].values["text"] == "hard, smooth"
    assert found["12"].meta["sentence"] == "Sample 3 is hard."
    assert "sentence" not in found["silent"].meta
    assert done.report["reasons"] == {"missing touch file": 1, "listed twice": 1, "image": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"img": "12.jpg", "sentence_desc": "a"}\n{"img": "1', "damaged after entry 1"),
        ('[{"img": "12.jpg", "sentence_desc": "a"}, 3]', "entry 2 is a int"),
        ('{"image": "12.jpg"}', "entry 1 has no 'img'. Did you mean 'image'"),
        ('{"img": "../../12.jpg"}', "leaves the folder"),
        ('{"img": "/12.jpg"}', "leaves the folder"),
    ],
)
def test_a_list_that_is_none_is_named(folder: Path, tmp_path: Path, text: str, message: str) -> None:
    (folder / "touch100k" / "data_list.json").write_text(text)
    with pytest.raises(DataError, match=message):
        convert("touch100k", folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_misspelt_caption_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Did you mean 'phrase'"):
        convert("touch100k", folder, tmp_path / "out", options={"text": "phrases"})


def test_the_command_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    home = str(folder / "touch100k")
    assert main(["data", "convert", "touch100k", home, "-o", out, "--option", "text=phrase", "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert "8 samples converted (train 8" in printed
    assert "CC BY-NC 4.0" in printed
