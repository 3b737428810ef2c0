"""TacQuad: frames in contact, pictures at another rate, items matched whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from miniature import convert, picture, read_back

from pairalign.cli.main import main
from pairalign.errors import DataError

SPANS = {"gelsight": (1, 3), "digit": (0, 1), "duragel": (2, 2)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Items 12 and 120: six touch frames, three pictures; one touch is missing; item 7 is not on disk."""
    home = tmp_path / "tacquad"
    cells = [str(n) for span in SPANS.values() for n in span]
    for item in ("12", "120"):
        for number, sensor in enumerate(SPANS):
            for frame in range(6):
                picture(home / "data_indoor" / item / sensor / f"{frame}.png", 100 * number + frame, flat=0.9)
            for frame in range(3):
                picture(home / "data_indoor" / item / f"img_{sensor}" / f"{frame}.png", 50 + frame)
    (home / "data_indoor" / "12" / "gelsight" / "5.png").rename(home / "data_indoor" / "12" / "gelsight" / "9.png")
    (home / "data_indoor" / "12" / "digit" / "1.png").unlink()
    lines = [[item, *cells, "extra", f"felt {item}"] for item in ("12", "120", "7")]
    (home / "contact_indoor.csv").write_text("\n".join(",".join(line) for line in lines) + "\n")
    return home


def test_frames_pictures_and_sensors(folder: Path, tmp_path: Path) -> None:
    done = convert("tacquad", folder, tmp_path / "out")
    found = read_back(tmp_path / "out")
    assert done.report["reasons"] == {"missing touch file": 1, "missing item": 1}
    assert len(found) == 2 * (3 + 2 + 1) - 1
    assert sorted(k for k in found if k.startswith("indoor/12/")) == [
        "indoor/12/digit/0", "indoor/12/duragel/2", "indoor/12/gelsight/1", "indoor/12/gelsight/2",
        "indoor/12/gelsight/3",
    ]  # fmt: skip
    sample = found["indoor/120/gelsight/3"]
    assert (sample.values["text"], sample.meta["sensor"], sample.meta["group"]) == (
        "felt 120",
        "gelsight",
        "indoor/120",
    )
    picture(tmp_path / "one.png", 51)
    assert sample.values["image"].tobytes() == read_png(tmp_path / "one.png")  # int(3 / 6 · 3) = 1
    for item in ("12", "120"):
        assert len({s.meta["splits"]["by_object"] for k, s in found.items() if k.startswith(f"indoor/{item}/")}) == 1


def read_png(path: Path) -> bytes:
    from PIL import Image

    return Image.open(path).tobytes()


def test_one_sensor_thinned_by_the_command(folder: Path, tmp_path: Path) -> None:
    command = ["data", "convert", "tacquad", str(folder), "-o", str(tmp_path / "out"), "--quiet"]
    assert main([*command, "--option", "sensor=gelsight", "--option", "every=2"]) == 0
    assert set(read_back(tmp_path / "out")) == {f"indoor/{item}/gelsight/{t}" for item in ("12", "120") for t in (1, 3)}


@pytest.mark.parametrize(
    ("cells", "words"), [("12,x,3,0,1,2,2,t", "no frame numbers"), ("12,3,1,0,1,2,2,t", "before it starts")]
)
def test_a_line_that_is_none_is_named(folder: Path, tmp_path: Path, cells: str, words: str) -> None:
    (folder / "contact_indoor.csv").write_text(cells + "\n")
    with pytest.raises(DataError, match=words):
        convert("tacquad", folder, tmp_path / "out")
