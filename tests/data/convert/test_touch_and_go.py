"""Touch and Go: both lists, what they leave out, and recordings kept whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from miniature import convert, cut, picture, read_back

from pairalign.core.errors import DataError

RECORDINGS = [f"2022051{i}_11111{i}" for i in range(6)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six recordings of four frames; the last has no material, some have roughness; one file missing, one cut."""
    home = tmp_path / "touch_and_go"
    lists: dict[str, list[str]] = {"train": [], "test": [], "train_rough": [], "test_rough": []}
    for number, recording in enumerate(RECORDINGS):
        for frame in range(4):
            name = f"{frame:010d}.jpg"
            for place, part in enumerate(("video_frame", "gelsight_frame")):
                picture(home / "dataset" / recording / part / name, 100 * number + 10 * frame + place)
            label = (0, 7, 12, 19, 4, -1)[number]
            lists["test" if frame == 3 else "train"].append(f"{recording}/{name},{label}")
            if number in (0, 5):
                lists["train_rough" if number == 0 else "test_rough"].append(f"{recording}/{name},{int(number == 5)}")
    (home / "dataset" / RECORDINGS[1] / "gelsight_frame" / "0000000001.jpg").unlink()
    cut(home / "dataset" / RECORDINGS[2] / "video_frame" / "0000000002.jpg")
    for name, lines in lists.items():
        (home / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return home


def test_labels_splits_and_what_is_left_out(folder: Path, tmp_path: Path) -> None:
    done = convert("touch-and-go", folder, tmp_path / "out")
    found = read_back(tmp_path / "out")
    assert len(found) == 22
    assert done.report["reasons"] == {"missing touch file": 1, "image": 1}
    assert found[f"{RECORDINGS[1]}/0000000000"].meta["label"] == {"material": "leather", "hardness": "soft"}
    assert found[f"{RECORDINGS[0]}/0000000003"].meta["label"] == {
        "material": "concrete", "hardness": "hard", "roughness": "smooth"}  # fmt: skip
    assert found[f"{RECORDINGS[5]}/0000000000"].meta["label"] == {"roughness": "rough"}
    counts = done.report["splits"]
    assert (counts["train"], counts["test"], counts["unlabelled"]) == (13, 5, 4)
    assert (counts["rough/train"], counts["rough/test"]) == (4, 4)


def test_files_are_stored_byte_for_byte(folder: Path, tmp_path: Path) -> None:
    convert("touch-and-go", folder, tmp_path / "out")
    shards = b"".join(p.read_bytes() for p in (tmp_path / "out").glob("*.tar"))
    kept = folder / "dataset" / RECORDINGS[0] / "gelsight_frame" / "0000000000.jpg"
    assert kept.read_bytes() in shards


def test_by_recording_keeps_recordings_whole(folder: Path, tmp_path: Path) -> None:
    convert("touch-and-go", folder, tmp_path / "out")
    sides: dict[str, set[str]] = {}
    for part in ("train", "val", "test"):
        for sample in read_back(tmp_path / "out", f"by_recording/{part}").values():
            sides.setdefault(sample.meta["session"], set()).add(part)
    assert sides.keys() == set(RECORDINGS)
    assert all(len(parts) == 1 for parts in sides.values())
    assert len({part for parts in sides.values() for part in parts}) == 3


def test_a_caption_leaves_out_what_has_no_material(folder: Path, tmp_path: Path) -> None:
    done = convert("touch-and-go", folder, tmp_path / "out", options={"text": "It feels like {material}."})
    assert read_back(tmp_path / "out")[f"{RECORDINGS[1]}/0000000000"].values["text"] == "It feels like leather."
    assert done.report["reasons"]["no material"] == 4


@pytest.mark.parametrize("line", ["x.jpg,3", f"{RECORDINGS[0]}/0000000000.jpg,20", f"{RECORDINGS[0]}/0000000000.jpg,a"])
def test_a_line_that_is_none_is_named(folder: Path, tmp_path: Path, line: str) -> None:
    (folder / "train.txt").write_text(line)
    with pytest.raises(DataError, match=r"train\.txt line 1: .*−1 to 19"):
        convert("touch-and-go", folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
