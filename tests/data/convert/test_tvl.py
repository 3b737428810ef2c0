"""TVL: tables read by header, frames matched whole, rest images, and folders that are exchanged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from miniature import convert, cut, picture, read_back
from PIL import Image

from pairalign.cli.main import main
from pairalign.errors import DataError

FRAMES = ("12-0.02", "120-0.03", "160-0.04")


def gel(path: Path, seed: int) -> None:
    """The gel at rest with a small dent."""
    picture(path, 0, flat=1.0)
    pixels = np.asarray(Image.open(path)).copy()
    pixels[seed % 20 : seed % 20 + 4, 5:9] = 255
    Image.fromarray(pixels).save(path, quality=95)


def make_hct(
    home: Path,
    trajectories: int,
    exchanged: tuple[int, ...] = (),
    columns: str = "url,tactile,tactile_background,caption",
) -> None:
    rows = {"train": [columns], "test": [columns]}
    for number in range(trajectories):
        session = f"{number}-1702596295.70"
        sides = ("tactile", "vision") if number in exchanged else ("vision", "tactile")
        for frame, name in enumerate(FRAMES):
            picture(home / session / sides[0] / f"{name}.jpg", 10 * number + frame)
            gel(home / session / sides[1] / f"{name}.jpg", 10 * number + frame)
            cells = {
                "url": f"{session}/vision/{name}.jpg", "tactile": f"{session}/tactile/{name}.jpg",
                "tactile_background": f"{session}/tactile/background.jpg", "caption": f'"soft, grainy {number}"',
            }  # fmt: skip
            rows["test" if frame == 2 else "train"].append(",".join(cells[c.strip(" ;")] for c in columns.split(",")))
        gel(home / session / "tactile" / "background.jpg", 0)
    for split, lines in rows.items():
        (home / f"{split}.csv").write_text("\n".join(lines) + "\n")


def make_ssvtp(home: Path) -> None:
    rows = {"train": ["url,tactile,caption"], "test": ["url,tactile,caption"]}
    for number in (12, 120, 437, 438):
        picture(home / "images_rgb" / f"image_{number}_rgb.jpg", number)
        gel(home / "images_tac" / f"image_{number}_tac.jpg", number)
        caption = "" if number in (437, 438) else f'"smooth, hard {number}"'
        line = f"images_rgb/image_{number}_rgb.jpg,images_tac/image_{number}_tac.jpg,{caption}"
        rows["test" if number == 437 else "train"].append(line)
    (home / "text").mkdir()
    (home / "text" / "labels_437.txt").write_text("rough, bumpy\n")
    for split, lines in rows.items():
        (home / f"{split}.csv").write_text("\n".join(lines) + "\n")


def test_both_parts_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_ssvtp(tmp_path / "tvl" / "ssvtp")
    make_hct(tmp_path / "tvl" / "hct" / "data1", 3)
    (tmp_path / "tvl" / "ssvtp" / "images_tac" / "image_12_tac.jpg").unlink()  # 120 stays
    cut(tmp_path / "tvl" / "hct" / "data1" / "1-1702596295.70" / "vision" / "120-0.03.jpg")
    assert main(["data", "convert", "tvl", str(tmp_path / "tvl"), "-o", str(tmp_path / "out"), "--quiet"]) == 0
    report = json.loads((tmp_path / "out" / "conversion.json").read_text())
    assert report["reasons"] == {"missing touch file": 1, "empty caption": 1, "image": 1}
    assert report["suspected_swaps"] == []
    found = read_back(tmp_path / "out")
    assert sorted(k for k in found if k.startswith("ssvtp")) == ["ssvtp/120", "ssvtp/437"]
    assert found["ssvtp/437"].values["text"] == "rough, bumpy"
    assert found["ssvtp/120"].meta["adjectives"] == ["smooth", "hard 120"]
    frame = found["data1/2-1702596295.70/160-0.04"]
    assert (frame.meta["split"], frame.meta["session"], frame.meta["sensor"]) == (
        "test",
        "data1/2-1702596295.70",
        "DIGIT",
    )
    assert set(frame.values["touch"]) == {"value", "background"}
    assert len({s.meta["splits"]["by_trajectory"] for k, s in found.items() if k.startswith("data1/0-")}) == 1
    assert "next: pairalign data audit" in capsys.readouterr().out


def test_columns_are_read_by_their_name(tmp_path: Path) -> None:
    make_hct(tmp_path / "hct" / "data1", 1, columns="caption;,tactile_background,tactile,url")
    convert("tvl", tmp_path, tmp_path / "out")
    found = read_back(tmp_path / "out")["data1/0-1702596295.70/12-0.02"]
    assert found.values["text"] == "soft, grainy 0"
    stored = tmp_path / "hct" / "data1" / "0-1702596295.70" / "tactile" / "12-0.02.jpg"
    np.testing.assert_array_equal(np.asarray(found.values["touch"]["value"]), np.asarray(Image.open(stored)))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    make_hct(tmp_path / "hct" / "data1", 1)
    path = tmp_path / "hct" / "data1" / "train.csv"
    path.write_text(path.read_text().replace("caption", "captoin", 1))
    with pytest.raises(DataError, match=r"data1/train\.csv has no column 'caption'. Did you mean 'captoin'"):
        convert("tvl", tmp_path, tmp_path / "out")


@pytest.mark.parametrize("exchange", [False, True])
def test_exchanged_folders_are_reported_or_put_right(tmp_path: Path, exchange: bool) -> None:
    home = tmp_path / "hct" / "data3"
    make_hct(home, 3, exchanged=(1,))
    done = convert("tvl", tmp_path, tmp_path / "out", options={"swapped": "exchange" if exchange else "report"})
    assert [s.partition(":")[0] for s in done.report["suspected_swaps"] if "rest image" in s] == [
        "data3/1-1702596295.70"
    ]
    found = read_back(tmp_path / "out")["data3/1-1702596295.70/12-0.02"]
    side = "vision" if exchange else "tactile"  # where the file lies that is stored as touch
    stored = Image.open(home / "1-1702596295.70" / side / "12-0.02.jpg")
    np.testing.assert_array_equal(np.asarray(found.values["touch"]["value"]), np.asarray(stored))


def test_parallel_lists_stand_in_for_tables(tmp_path: Path) -> None:
    home = tmp_path / "hct" / "data2"
    make_hct(home, 1)
    names = [f"0-1702596295.70/{{}}/{frame}.jpg" for frame in FRAMES]
    lists = {"vision": [n.format("vision") for n in names], "tactile": [n.format("tactile") for n in names]}
    (home / "0-1702596295.70" / "tactile" / "background.jpg").rename(home / "digit_background.png")
    (home / "not_contact.json").write_text(json.dumps(lists | {"background": ["0-1702596295.70/tactile/none.jpg"] * 3}))
    for split in ("train", "test"):
        (home / f"{split}.csv").unlink()
    (home / "contact.json").write_text(json.dumps({"vision": [], "tactile": [], "background": []}))
    convert("tvl", tmp_path, tmp_path / "out", options={"contact": False})
    found = read_back(tmp_path / "out")
    assert {s.values["text"] for s in found.values()} == {"background"}
    assert all("background" in s.values["touch"] for s in found.values())
    (home / "not_contact.json").write_text(json.dumps(lists | {"background": []}))
    with pytest.raises(DataError, match=r"data2/not_contact\.json is damaged"):
        convert("tvl", tmp_path, tmp_path / "other", options={"contact": False})
