"""TacQuad: contact ranges, camera frames by the loader's formula, objects kept whole, and what is not on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from miniature import convert, read_back
from PIL import Image

from pairalign.cli.main import main
from pairalign.core.errors import DataError

SENSORS = ("gelsight", "digit", "duragel")
ITEMS = {  # contact by sensor, touch frames, camera frames
    "12": ([(1, 3), (2, 4), (0, 1)], 8, 5),
    "120": ([(2, 2), (0, 0), (5, 7)], 8, 16),
    "shuttlecock": ([(0, 1), (3, 3), (0, 0)], 4, 4),
}


def frame(path: Path, number: int) -> None:
    """A PNG that no other frame equals."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (12, 16, 3), np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two items whose names begin alike and one that the table calls by its old name, indoors; one of them outdoors."""
    home, number, lines = tmp_path / "data" / "tacquad", 0, []
    for item, (contact, touches, images) in ITEMS.items():
        for sensor in SENSORS:
            for part, count in ((sensor, touches), (f"img_{sensor}", images)):
                for t in range(count):
                    number += 1
                    frame(home / "data_indoor" / item / part / f"{t}.png", number)
        name = {"shuttlecock": "yumaoqiu"}.get(item, item)
        bounds = ",".join(f"{first},{last}" for first, last in contact)
        lines.append(f'{name},{bounds},9,9,"A {item}, rough and dry."')
    lines.append('gone,0,1,0,1,0,1,9,9,"Not on disk."')
    (home / "contact_indoor.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for part, count in (("gelsight", 2), ("img_gelsight", 2)):
        for t in range(count):
            frame(home / "data_outdoor" / "12" / part / f"{t}.png", 900 + 10 * t + len(part))
    (home / "contact_outdoor.csv").write_text('12,0,1,-1,-1,0,0,"A 12 outdoors."\n', encoding="utf-8")
    return home


def expected() -> dict[str, tuple[str, str, str]]:
    """Camera file, sensor and caption by key, written out from `ITEMS` and nothing else."""
    found = {}
    for item, (contact, touches, images) in ITEMS.items():
        for sensor, (first, last) in zip(SENSORS, contact, strict=True):
            for t in range(first, last + 1):
                k = int(t / touches * images)
                camera = f"data_indoor/{item}/img_{sensor}/{k}.png"
                found[f"indoor/{item}/{sensor}/{t}"] = (camera, sensor, f"A {item}, rough and dry.")
    for t in range(2):
        found[f"outdoor/12/gelsight/{t}"] = (f"data_outdoor/12/img_gelsight/{t}.png", "gelsight", "A 12 outdoors.")
    return found


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_every_frame_in_contact_with_its_camera_frame(folder: Path, tmp_path: Path) -> None:
    done = convert("tacquad", folder.parent, tmp_path / "out")
    found, wanted = read_back(tmp_path / "out"), expected()
    assert found.keys() == wanted.keys()
    for key, (camera, sensor, caption) in wanted.items():
        place, item, _, t = key.split("/")
        sample = found[key]
        assert sample.values["text"] == caption
        assert (sample.meta["sensor"], sample.meta["group"], sample.meta["split"]) == (sensor, item, "train")
        assert sample.meta["session"] == f"{place}/{item}/{sensor}"
        assert (np.asarray(sample.values["image"]) == pixels(folder / camera)).all()
        assert (np.asarray(sample.values["touch"]) == pixels(folder / f"data_{place}/{item}/{sensor}/{t}.png")).all()
    assert done.report["reasons"] == {"missing folder": 1, "no contact": 1, "missing touch frames": 1}
    assert done.index.licence is not None
    assert done.index.licence.startswith("not verified")


def test_files_are_stored_byte_for_byte(folder: Path, tmp_path: Path) -> None:
    convert("tacquad", folder, tmp_path / "out")
    shards = b"".join(path.read_bytes() for path in (tmp_path / "out").glob("*.tar"))
    assert (folder / "data_indoor/12/gelsight/2.png").read_bytes() in shards
    assert (folder / "data_indoor/12/gelsight/4.png").read_bytes() not in shards  # after the contact


def test_by_object_keeps_an_item_whole_under_all_sensors_and_places(folder: Path, tmp_path: Path) -> None:
    convert("tacquad", folder, tmp_path / "out")
    sides: dict[str, set[str]] = {}
    for part in ("train", "val", "test"):
        for sample in read_back(tmp_path / "out", f"by_object/{part}").values():
            sides.setdefault(sample.meta["group"], set()).add(part)
    assert sides.keys() == ITEMS.keys()
    assert sorted(part for parts in sides.values() for part in parts) == ["test", "train", "val"]


def test_missing_frames_are_named_and_do_not_shift_the_others(folder: Path, tmp_path: Path) -> None:
    (folder / "data_indoor/120/duragel/6.png").unlink()  # in contact
    (folder / "data_indoor/120/duragel/1.png").unlink()  # before it: only the numbers of the others could shift
    (folder / "data_indoor/12/img_digit/1.png").unlink()  # of frame 2 and 3
    (folder / "data_indoor/12/digit/.png").write_bytes(b"")
    done = convert("tacquad", folder, tmp_path / "out")
    found = read_back(tmp_path / "out")
    gone = {"indoor/120/duragel/6", "indoor/12/digit/2", "indoor/12/digit/3"}
    assert found.keys() == expected().keys() - gone
    assert done.report["reasons"]["missing touch file"] == 1
    assert done.report["reasons"]["missing image file"] == 2
    kept = found["indoor/120/duragel/7"].values["image"]
    assert (np.asarray(kept) == pixels(folder / "data_indoor/120/img_duragel/14.png")).all()


def test_one_sensor_and_one_frame_in_two(folder: Path, tmp_path: Path) -> None:
    convert("tacquad", folder, tmp_path / "out", options={"sensor": "digit", "every": 2})
    assert read_back(tmp_path / "out").keys() == {
        "indoor/12/digit/2",
        "indoor/12/digit/4",
        "indoor/120/digit/0",
        "indoor/shuttlecock/digit/3",
    }


def test_a_cut_file_an_empty_caption_and_a_repeated_line(folder: Path, tmp_path: Path) -> None:
    damaged = folder / "data_indoor/12/gelsight/1.png"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    table = folder / "contact_indoor.csv"
    lines = table.read_text().replace('"A 120, rough and dry."', '" "').splitlines()
    table.write_text("\n".join([*lines, lines[0]]) + "\n")
    done = convert("tacquad", folder, tmp_path / "out")
    kept = {key for key in expected() if "/120/" not in key} - {"indoor/12/gelsight/1"}
    assert read_back(tmp_path / "out").keys() == kept
    reasons = done.report["reasons"]
    assert (reasons["touch"], reasons["empty caption"], reasons["named twice"]) == (1, 1, 8)
    convert("tacquad", folder, tmp_path / "bare", options={"captions": False})
    bare = read_back(tmp_path / "bare")
    assert bare.keys() == expected().keys() - {"indoor/12/gelsight/1"}
    assert set(bare["indoor/12/gelsight/2"].values) == {"touch", "image"}


@pytest.mark.parametrize("line", ["12,0,1,0,1,0,x,rough", "12,0,1", "item,a,b,c,d,e,f,text"])
def test_a_line_that_is_none_is_named(folder: Path, tmp_path: Path, line: str) -> None:
    (folder / "contact_outdoor.csv").write_text(f"\n{line}\n")
    with pytest.raises(DataError, match=r"contact_outdoor\.csv line 2: .*whole numbers"):
        convert("tacquad", folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"), [({"sensor": "gelsihgt"}, "Did you mean 'gelsight'"), ({"every": 0}, "at least 1")]
)
def test_wrong_options_are_named(folder: Path, tmp_path: Path, options: dict[str, object], said: str) -> None:
    with pytest.raises(DataError, match=said):
        convert("tacquad", folder, tmp_path / "out", options=options)


def test_command_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    assert main(["data", "convert", "tacquad", str(folder), "-o", out, "--option", "sensor=duragel", "--quiet"]) == 0
    assert "6 samples converted (train 6" in capsys.readouterr().out
    assert {sample.meta["sensor"] for sample in read_back(tmp_path / "out").values()} == {"duragel"}
