"""TVL: lists read by name, both collections, exchanged folders, and what each fault of a copy leads to."""

from __future__ import annotations

import csv
import json
import random
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from miniature import convert, cut, read_back
from PIL import Image

from pairalign.cli.main import main
from pairalign.core.errors import DataError
from pairalign.data.convert.gel_side import exchanged, look
from pairalign.data.convert.report import Skipped
from pairalign.data.convert.shelf import Shelf
from pairalign.data.convert.tvl import read
from pairalign.data.index import load_index
from pairalign.data.shards import read_samples

TRAJECTORIES = {"data1": ["12", "120"], "data2": ["0-1702596295.70", "1-1702596301.12", "2-1702596344.51"]}
SWAPPED = "data2/1-1702596301.12"
FRAMES = ["12-0.0207", "120-0.0311", "160-0.0402", "161-0.0419"]
HEADER = ["url", "tactile", "tactile_background", "caption"]


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path, quality=95)


def gel(path: Path, seed: int, pressed: bool = True) -> None:
    """Lit red from the left, green from the right and blue from above, with a small imprint somewhere."""
    y, x = np.mgrid[0:1:48j, 0:1:64j]
    light = np.stack([140 - 50 * x, 90 + 50 * x, 130 - 40 * y], -1)
    at = np.random.default_rng(seed).uniform(0.3, 0.7, 2)
    imprint = np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / 0.01)[..., None] * [25, -10, 15]
    save(path, light + pressed * imprint)


def photo(path: Path, seed: int) -> None:
    """Bright and dark surfaces, whose colour channels go together, elsewhere in every frame."""
    draw = np.random.default_rng(seed)
    coarse = draw.uniform(0, 230, (6, 8)).repeat(8, 0).repeat(8, 1)
    save(path, coarse[..., None] * draw.uniform(0.8, 1.0, 3) + draw.uniform(0, 20, (48, 64, 3)))


def write_csv(path: Path, header: list[str], rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        lines = csv.writer(stream)
        lines.writerows([header, *([row[name.strip(";")] for name in header] for row in rows)])


def hct(home: Path) -> None:
    """Trajectories of four frames, the last of each a test frame; one trajectory with its folders exchanged."""
    for k, (data, trajectories) in enumerate(TRAJECTORIES.items()):
        rows: dict[str, list[dict[str, str]]] = {"train": [], "test": []}
        lists: dict[str, list[str]] = {"vision": [], "tactile": [], "background": []}
        for j, trajectory in enumerate(trajectories):
            for i, name in enumerate([*FRAMES, "900-0.9"]):  # the last touches nothing
                sides = ("tactile", "vision") if f"{data}/{trajectory}" != SWAPPED else ("vision", "tactile")
                seed = 100 * k + 10 * j + i
                gel(home / data / trajectory / sides[0] / f"{name}.jpg", seed, pressed=i < 4)
                photo(home / data / trajectory / sides[1] / f"{name}.jpg", 1000 + seed)
                row = {
                    "url": f"{trajectory}/vision/{name}.jpg",
                    "tactile": f"{trajectory}/tactile/{name}.jpg",
                    "tactile_background": f"{trajectory}/tactile/900-0.9.jpg",
                    "caption": f"Smooth, hard, kind {seed}.",
                }
                if i < 4:
                    rows["test" if i == 3 else "train"].append(row)
                    for side, column in (("vision", "url"), ("tactile", "tactile"), ("background", HEADER[2])):
                        lists[side].append(row[column])
        for split in rows:
            write_csv(home / data / f"{split}.csv", HEADER, rows[split])
        (home / data / "contact.json").write_text(json.dumps(lists))
        nothing = {s: [f"{t}/{s}/900-0.9.jpg" for t in trajectories] for s in ("vision", "tactile")}
        (home / data / "not_contact.json").write_text(json.dumps(nothing | {"background": nothing["tactile"]}))
        gel(home / data / "digit_background.png", 0, pressed=False)


def ssvtp(home: Path) -> None:
    """Items 12, 120 and 437 to 440; train with the tactile column, test without it, as published."""
    rows = []
    for n in (12, 120, 437, 438, 439, 440):
        gel(home / "images_tac" / f"image_{n}_tac.jpg", n)
        photo(home / "images_rgb" / f"image_{n}_rgb.jpg", 2000 + n)
        (home / "text").mkdir(exist_ok=True)
        (home / "text" / f"labels_{n}.txt").write_text(f"fuzzy, of file {n}\n")
        url, tactile = f"images_rgb/image_{n}_rgb.jpg", f"images_tac/image_{n}_tac.jpg"
        rows.append({"url": url, "tactile": tactile, "caption": f"Soft, stringy, item {n}"})
    write_csv(home / "train.csv", ["url", "tactile", "caption"], rows[:4])
    write_csv(home / "test.csv", ["url", "caption"], rows[4:])
    (home / "synonyms.json").write_text(json.dumps({"soft": ["plush", "pliable"], "rough": ["coarse"]}))
    talk = [{"value": "What does it feel like?"}, {"value": "soft"}]
    asked = {"image": "images_rgb/image_12_rgb.jpg", "tactile": "images_tac/image_12_tac.jpg", "conversations": talk}
    (home / "finetune.json").write_text(json.dumps([asked]))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Both collections."""
    hct(tmp_path / "tvl_dataset" / "hct")
    ssvtp(tmp_path / "tvl_dataset" / "ssvtp")
    return tmp_path / "tvl_dataset"


def stored(out: Path, split: str) -> dict[str, dict[str, Any]]:
    """Stored bytes by modality, by key."""
    index = load_index(out)
    return {s.key: s.values for s in read_samples(out, split, list(index.modalities), raw=True)}


def hct_keys(*frames: str) -> set[str]:
    return {f"hct/{data}/{t}/{name}" for data, names in TRAJECTORIES.items() for t in names for name in frames}


def test_samples_splits_and_meta_of_both_collections(folder: Path, tmp_path: Path) -> None:
    done = convert("tvl", folder.parent, tmp_path / "out")
    train, test = read_back(tmp_path / "out", "train"), read_back(tmp_path / "out", "test")
    assert train.keys() == hct_keys(*FRAMES[:3]) | {f"ssvtp/{n}" for n in (12, 120, 437, 438)}
    assert test.keys() == hct_keys(FRAMES[3]) | {"ssvtp/439", "ssvtp/440"}
    assert done.report["reasons"] == {}
    item = train["ssvtp/12"]
    assert item.values["text"] == "Soft, stringy, item 12"
    assert item.meta["adjectives"] == ["soft", "stringy", "item 12"]
    assert item.meta["synonyms"] == {"soft": ["plush", "pliable"]}
    assert item.meta["conversation"] == ["What does it feel like?", "soft"]
    assert "conversation" not in train["ssvtp/120"].meta
    assert (item.meta["session"], item.meta["subset"]) == ("ssvtp/12", "ssvtp")
    frame = test["hct/data1/120/161-0.0419"]
    assert (frame.values["text"], frame.meta["session"]) == ("Smooth, hard, kind 13.", "hct/data1/120")
    assert {s.meta["sensor"] for s in train.values()} == {"DIGIT"} == {done.index.modalities["touch"].sensor}
    assert all(s.meta["rotate"] == 90 and s.meta["contact"] for s in test.values())


def test_every_file_is_stored_byte_for_byte_on_its_side(folder: Path, tmp_path: Path) -> None:
    convert("tvl", folder, tmp_path / "out")
    for split in ("train", "test"):
        for key, values in stored(tmp_path / "out", split).items():
            if key.startswith("ssvtp/"):
                n = key.removeprefix("ssvtp/")
                assert values["touch"] == (folder / f"ssvtp/images_tac/image_{n}_tac.jpg").read_bytes()
                assert values["image"] == (folder / f"ssvtp/images_rgb/image_{n}_rgb.jpg").read_bytes()
            else:
                trajectory, name = (folder / key).parent, Path(key).name
                assert values["image"] == (trajectory / "vision" / f"{name}.jpg").read_bytes()
                assert values["touch"]["value"] == (trajectory / "tactile" / f"{name}.jpg").read_bytes()
                assert values["touch"]["background"] == (trajectory / "tactile" / "900-0.9.jpg").read_bytes()


def test_by_trajectory_keeps_trajectories_whole(folder: Path, tmp_path: Path) -> None:
    convert("tvl", folder, tmp_path / "out", options={"subset": "hct"})
    sides: dict[str, set[str]] = {}
    for part in ("train", "val", "test"):
        for sample in read_back(tmp_path / "out", f"by_trajectory/{part}").values():
            sides.setdefault(sample.meta["session"], set()).add(part)
    assert sides.keys() == {f"hct/{data}/{name}" for data, names in TRAJECTORIES.items() for name in names}
    assert all(len(parts) == 1 for parts in sides.values())
    assert len({part for parts in sides.values() for part in parts}) == 3


def test_exchanged_folders_are_reported_and_on_request_put_right(folder: Path, tmp_path: Path) -> None:
    done = convert("tvl", folder, tmp_path / "out")
    named = [line for line in done.report["suspected_swaps"] if line.startswith("hct/")]
    assert named == [
        f"hct/{SWAPPED}: touch and image look exchanged in the folder, 4 samples: convert with swapped=exchange to put "
        "them right."
    ]
    marked = {k for k, s in read_back(tmp_path / "out").items() if "swapped" in s.meta}
    assert marked == {f"hct/{SWAPPED}/{name}" for name in FRAMES}
    convert("tvl", folder, tmp_path / "right", options={"swapped": "exchange"})
    before, after = stored(tmp_path / "out", "train"), stored(tmp_path / "right", "train")
    for key, values in after.items():
        if SWAPPED not in key:
            assert values == before[key]
            continue
        home, name = folder / "hct" / SWAPPED, f"{Path(key).name}.jpg"
        assert values["touch"]["value"] == (home / "vision" / name).read_bytes()
        assert values["image"] == (home / "tactile" / name).read_bytes()
        assert values["touch"]["background"] == (home / "vision" / "900-0.9.jpg").read_bytes()


def test_a_doubtful_or_damaged_folder_is_not_called_exchanged(tmp_path: Path) -> None:
    for i in range(4):
        gel(tmp_path / f"gel{i}.jpg", i)
        photo(tmp_path / f"photo{i}.jpg", i)
    gels, photos = (look([tmp_path / f"{kind}{i}.jpg" for i in range(4)]) for kind in ("gel", "photo"))
    assert exchanged(photos, gels)
    assert exchanged(photos, gels, gels[0])
    assert not exchanged(gels, photos)
    assert not exchanged(gels, gels)
    assert not exchanged(photos, photos)
    assert exchanged(photos[:1], gels[:1])  # light alone tells
    assert not exchanged(photos, gels, np.median(photos, 0))  # the background contradicts
    cut(tmp_path / "gel0.jpg")
    assert len(look([tmp_path / "gel0.jpg", tmp_path / "gel1.jpg", tmp_path / "none.jpg"])) == 1
    assert not exchanged(photos, look([tmp_path / "gel0.jpg"]))


def test_what_is_missing_or_broken_is_left_out_and_named(folder: Path, tmp_path: Path) -> None:
    home = folder / "hct" / "data1"
    (home / "12/tactile/12-0.0207.jpg").unlink()
    (home / "120/vision/12-0.0207.jpg").unlink()
    cut(home / "12/vision/120-0.0311.jpg")
    text = (home / "train.csv").read_text()
    text = text.replace('"Smooth, hard, kind 2."', '"  "').replace('"Smooth, hard, kind 11."', "smooth, hard")
    text = text.replace("120/tactile/160-0.0402.jpg", "12/tactile/160-0.0402.jpg")  # another trajectory's touch
    (home / "train.csv").write_text(text + "../hct/data2/x/vision/y.jpg,,,soft\n/etc/vision/y.jpg,,,soft\n")
    done = convert("tvl", folder, tmp_path / "out", options={"subset": "hct"})
    assert {key for key in read_back(tmp_path / "out") if "/data1/" in key} == {
        "hct/data1/12/161-0.0419",
        "hct/data1/120/161-0.0419",
    }
    skipped = {key: reason.partition(":")[0] for key, reason in done.index.skipped}
    assert skipped == {
        "hct/data1/12/12-0.0207": "missing touch file",
        "hct/data1/120/12-0.0207": "missing image file",
        "hct/data1/12/120-0.0311": "image",
        "hct/data1/12/160-0.0402": "no caption",
        "data1/train.csv line 6": "uneven line",
        "hct/data1/120/120-0.0311": "no caption",  # contact.json still names it
        "hct/data1/120/160-0.0402": "other frames",
        "data1/../hct/data2/x/vision/y.jpg": "odd path",
        "data1//etc/vision/y.jpg": "odd path",
    }
    with pytest.raises(DataError, match=r"uneven line|missing"):
        convert("tvl", folder, tmp_path / "strict", strict=True)


def test_columns_are_found_by_name(folder: Path, tmp_path: Path) -> None:
    convert("tvl", folder, tmp_path / "out")
    for path in folder.glob("*/**/train.csv"):
        with path.open(newline="") as stream:
            rows = [{"extra": "7", **row} for row in csv.DictReader(stream)]
        write_csv(path, ["caption;", "extra", *[name for name in rows[0] if name not in ("caption", "extra")]], rows)
        path.write_text("\ufeff" + path.read_text().replace("url", " URL ", 1), encoding="utf-8")
    convert("tvl", folder, tmp_path / "moved")
    assert load_index(tmp_path / "moved").content_hash == load_index(tmp_path / "out").content_hash
    found = {s.values["text"] for s in read_back(tmp_path / "moved").values()}
    assert len(found) == 26  # every caption is its own


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("url,tactile,tactile_background,cap;tion", r"no column 'caption'\. Did you mean 'cap;tion'"),
        ("url;tactile;tactile_background;caption", "separates its columns by ';'"),
        ("url,tactile,caption,Caption;", "two columns 'caption'"),
        ("1.jpg,2.jpg,3.jpg,soft", "no column 'url'"),
    ],
)
def test_a_header_that_cannot_be_repaired_is_named(folder: Path, tmp_path: Path, header: str, said: str) -> None:
    path = folder / "hct/data2/train.csv"
    path.write_text("\n".join([header, *path.read_text().splitlines()[1:]]))
    with pytest.raises(DataError, match=rf"data2/train\.csv.*{said}"):
        convert("tvl", folder, tmp_path / "out")


def test_backgrounds_come_from_the_lists_else_from_the_folder(folder: Path, tmp_path: Path) -> None:
    data1, data2 = folder / "hct/data1", folder / "hct/data2"
    (data1 / "train.csv").write_text((data1 / "train.csv").read_text().replace("tactile_background", "other", 1))
    (data2 / "0-1702596295.70/tactile/900-0.9.jpg").unlink()
    (data2 / "2-1702596344.51/tactile/900-0.9.jpg").unlink()
    convert("tvl", folder, tmp_path / "out", options={"subset": "hct"})
    found = stored(tmp_path / "out", "train")
    listed = found["hct/data1/120/12-0.0207"]["touch"]["background"]
    assert listed == (data1 / "120/tactile/900-0.9.jpg").read_bytes()  # by contact.json, of 120 and not of 12
    spare = found["hct/data2/2-1702596344.51/12-0.0207"]["touch"]["background"]
    assert spare == (data2 / "digit_background.png").read_bytes()
    (data2 / "digit_background.png").unlink()
    convert("tvl", folder, tmp_path / "none", options={"subset": "hct"})
    touch = stored(tmp_path / "none", "train")["hct/data2/2-1702596344.51/12-0.0207"]["touch"]
    assert touch == (data2 / "2-1702596344.51/tactile/12-0.0207.jpg").read_bytes()


def test_frames_without_contact_and_without_captions(folder: Path, tmp_path: Path) -> None:
    convert("tvl", folder, tmp_path / "out", options={"subset": "hct", "not_contact": True})
    idle = read_back(tmp_path / "out", "not_contact")
    assert idle.keys() == hct_keys("900-0.9")
    assert {(s.values["text"], s.meta["contact"]) for s in idle.values()} == {("background", False)}
    (folder / "hct/data1/train.csv").unlink()
    bare = convert("tvl", folder, tmp_path / "bare", options={"subset": "hct", "captions": False})
    unnamed = read_back(tmp_path / "bare", "unlabelled")
    assert unnamed.keys() == {key for key in hct_keys(*FRAMES[:3]) if "/data1/" in key}
    assert set(bare.index.modalities) == {"touch", "image"}
    told = convert("tvl", folder, tmp_path / "told", options={"subset": "hct"})
    assert told.report["reasons"] == {"no caption": 6}


def test_a_pair_of_both_splits_is_tested_only(folder: Path, tmp_path: Path) -> None:
    home = folder / "ssvtp"
    (home / "train.csv").write_text((home / "train.csv").read_text() + "./images_rgb/image_439_rgb.jpg,,soft\n")
    (home / "test.csv").write_text((home / "test.csv").read_text().replace("Soft, stringy, item 440", ""))
    done = convert("tvl", folder, tmp_path / "out", options={"subset": "ssvtp"})
    test = read_back(tmp_path / "out", "test")
    assert test["ssvtp/439"].values["text"] == "Soft, stringy, item 439"
    assert test["ssvtp/440"].values["text"] == "fuzzy, of file 440"  # from the item's own file
    assert "ssvtp/439" not in read_back(tmp_path / "out", "train")
    assert done.report["reasons"] == {"named twice": 1}


@pytest.mark.parametrize(
    ("name", "text"),
    [("contact.json", '{"vision": ["a", "b"], "tactile": ["a"]}'), ("finetune.json", "[{]"), ("synonyms.json", "[1]")],
)
def test_a_damaged_list_is_named(folder: Path, tmp_path: Path, name: str, text: str) -> None:
    (folder / "hct/data2" / name).write_text(text)
    with pytest.raises(DataError, match=f"data2/{name} is not of the form"):
        convert("tvl", folder, tmp_path / "out")


def test_wrong_options_and_a_subset_that_is_not_there(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Did you mean 'ssvtp'"):
        convert("tvl", folder, tmp_path / "out", options={"subset": "svtp"})
    with pytest.raises(DataError, match="Did you mean 'exchange'"):
        convert("tvl", folder, tmp_path / "out", options={"swapped": "exchanged"})
    (folder / "ssvtp").rename(folder / "other")
    with pytest.raises(DataError, match="holds no lists of it"):
        convert("tvl", folder, tmp_path / "out", options={"subset": "ssvtp"})
    assert not (tmp_path / "out").exists()


def many(home: Path, count: int) -> Path:
    """A collection of two trajectories, their frames mixed in the lists, all of one gel and one photo."""
    gel(home / "gel.jpg", 0)
    photo(home / "photo.jpg", 0)
    rows = []
    for i in range(count):
        sides = {side: f"t{i % 2}/{side}/{i}.jpg" for side in ("vision", "tactile")}
        for side, path in sides.items():
            (home / path).parent.mkdir(parents=True, exist_ok=True)
            (home / path).hardlink_to(home / ("photo.jpg" if side == "vision" else "gel.jpg"))
        rows.append({"url": sides["vision"], "tactile": sides["tactile"], "caption": f"soft, number {i}"})
    write_csv(home / "train.csv", ["url", "tactile", "caption"], rows)
    return home.parents[1]


def listing_peak(folder: Path, count: int) -> int:
    """Most bytes that Python holds while all pairs are listed; the least of three, since other threads count, too."""
    peaks = []
    for _ in range(3):
        tracemalloc.start()
        sessions = [sample["session"] for sample in read(folder, Skipped(strict=True))]
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert sessions == sorted(sessions)  # a trajectory at a time
        assert len(sessions) == count
        del sessions
    return min(peaks)


def test_listing_takes_no_more_memory_for_more_pairs(tmp_path: Path) -> None:
    peaks = {}
    for count in (500, 4000):
        many(tmp_path / f"{count}" / "hct" / "data1", count)
        peaks[count] = listing_peak(tmp_path / f"{count}", count)
    assert peaks[4000] < 1.3 * peaks[500]


def test_the_shelf_looks_up_and_sorts_as_dicts_do() -> None:
    draw = random.Random(0)
    kept: dict[str, int] = {}
    heaps: dict[str, list[int]] = {}
    shelf = Shelf()
    for value in range(300):
        name = draw.choice("abcdefgh")
        kept[name] = value
        heaps.setdefault(name, []).append(value)
        shelf.put("one", name, value)
        shelf.put("other", name, -value)
        shelf.file(name, value)
    assert list(shelf.values("one")) == list(kept.values())
    assert [shelf.get("other", name) for name in "abz"] == [-kept["a"], -kept["b"], None]
    assert [(name, count, list(shelf.filed(name))) for name, count in shelf.heaps()] == [
        (name, len(values), values) for name, values in heaps.items()
    ]
    assert [shelf.nth("c", n) for n in range(3)] == heaps["c"][:3]
    shelf.close()


def test_command_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["data", "convert", "tvl", str(folder), "-o", str(tmp_path / "out"), "--option", "swapped=exchange"]
    assert main([*arguments, "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "26 samples converted (test 7, train 19" in said
    assert f"suspected: hct/{SWAPPED}: " in said
    assert "exchanged back" in said
    assert "licence: Apache-2.0 for the authors' repository" in said
