"""PhysiCLeAR: folders of frames, videos, and the tables that Octopi keeps in its code."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from miniature import convert, cut, picture, read_back
from PIL import Image

from pairalign.cli.main import main
from pairalign.core.errors import DataError
from pairalign.data.convert.octopi_tables import OctopiTables
from pairalign.data.convert.physiclear import _spread
from pairalign.data.convert.video import frame_times, read_frame

TABLES = """
import os
raise RuntimeError("this file is read, never run")
TRAIN_OBJECTS = ['physiclear_egg', "physiclear_pen"]
VAL_OBJECTS = []
TEST_OBJECTS = ['physiclear_wood_ruler']
OBJECTS = {'physiclear_egg': "an uncracked egg", 'physiclear_wood_ruler': "a ruler"}
HARDNESS_RANK = {'physiclear_egg': 2, 'physiclear_wood_ruler': 2, 'physiclear_rug': 0}
HARDNESS_MAP = {0: "soft", 1: "moderately hard", 2: "hard"}
ROUGHNESS_RANK = {'physiclear_egg': 0, 'physiclear_wood_ruler': 1, 'physiclear_rug': 2}
ROUGHNESS_MAP = {0: "smooth", 1: "slightly rough", 2: "rough"}
TEXTURE_RANK = {'physiclear_egg': 0, 'physiclear_wood_ruler': 0, 'physiclear_rug': 2}
TEXTURE_MAP = {0: "no bumps", 1: "small bumps", 2: "big bumps"}
RANKS = {"hardness": HARDNESS_RANK}
"""
RECORDINGS = ["egg_0", "egg_12", "egg_120", "wood_ruler_0", "rug_0", "pen_0"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six recordings of eight frames, of which one is cut; a list that names a seventh and leaves the rug out."""
    home = tmp_path / "frames"
    for place, name in enumerate(RECORDINGS):
        for frame in range(8):
            picture(home / f"physiclear_{name}" / f"{3 * frame + 1:010d}.jpg", 10 * place + frame)
    (home / "physiclear_egg_0" / ".DS_Store").write_bytes(b"\0")
    (home / "physiclear_egg_7").mkdir()
    cut(home / "physiclear_egg_12" / "0000000013.jpg")  # the fifth frame
    lists: dict[str, dict[str, list[str]]] = {
        "train": {"physiclear_egg": ["data/physiclear_egg_120", "data/physiclear_egg_0", "data/physiclear_pen_0"]},
        "val": {"physiclear_egg": ["data/physiclear_egg_12"]},
        "test": {"physiclear_wood_ruler": ["data/physiclear_wood_ruler_0", "data/physiclear_wood_ruler_1"]},
    }
    for split, table in lists.items():
        (home / f"{split}_samples.json").write_text(json.dumps(table))
    return home


def test_frames_splits_and_what_is_left_out(folder: Path, tmp_path: Path) -> None:
    done = convert("physiclear", folder, tmp_path / "out", options={"frames": 4})
    found = read_back(tmp_path / "out")
    assert done.report["reasons"] == {"missing recording": 1, "no frames": 1}
    # the middles of 4 equal stretches of 8 frames are the frames 1, 3, 5, 7, which are numbered 3 · place + 1
    assert sorted(key for key in found if key.startswith("egg_0/")) == [f"egg_0/{n:010d}" for n in (4, 10, 16, 22)]
    assert found["wood_ruler_0/0000000004"].values["text"] == "This feels like wood ruler."
    assert found["egg_120/0000000004"].meta["label"] == {"object": "egg"}
    assert found["egg_120/0000000004"].meta["session"] == "egg_120"
    counts = {name: count for name, count in done.report["splits"].items() if "/" not in name}
    assert counts == {"train": 12, "val": 4, "test": 4, "unlisted": 4}


def test_a_cut_frame_is_named_and_others_keep_their_bytes(folder: Path, tmp_path: Path) -> None:
    done = convert("physiclear", folder, tmp_path / "out", options={"frames": 0, "every": 4})
    assert [key for key, _ in done.index.skipped if key.startswith("egg_12/")] == ["egg_12/0000000013"]
    shards = b"".join(path.read_bytes() for path in (tmp_path / "out").glob("*.tar"))
    for number in (1, 13):
        assert (folder / "physiclear_egg_120" / f"{number:010d}.jpg").read_bytes() in shards
    assert (folder / "physiclear_egg_120" / "0000000004.jpg").read_bytes() not in shards


def test_properties_and_splits_come_from_the_tables(folder: Path, tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        (folder / f"{split}_samples.json").unlink()
    (folder / "utils").mkdir()
    (folder / "utils" / "constants.py").write_text(TABLES)
    text = "{object}: {hardness}, {roughness}, {texture}"
    done = convert("physiclear", folder, tmp_path / "out", options={"frames": 1, "text": text})
    found = read_back(tmp_path / "out")
    assert {s.meta["session"]: (s.values["text"], s.meta["split"]) for s in found.values()} == {
        "egg_0": ("an uncracked egg: hard, smooth, no bumps", "train"),
        "egg_120": ("an uncracked egg: hard, smooth, no bumps", "train"),
        "wood_ruler_0": ("a ruler: hard, slightly rough, no bumps", "test"),
        "rug_0": ("rug: soft, rough, big bumps", "unlisted"),
    }
    assert done.report["reasons"] == {"no properties": 1, "no frames": 1, "touch": 1}
    assert found["rug_0/0000000013"].meta["label"] == {
        "object": "rug", "hardness": "soft", "roughness": "rough", "texture": "big bumps"}  # fmt: skip


def test_objects_stay_whole(folder: Path, tmp_path: Path) -> None:
    convert("physiclear", folder, tmp_path / "out")
    sides: dict[str, set[str]] = {}
    for part in ("train", "val", "test"):
        for sample in read_back(tmp_path / "out", f"by_object/{part}").values():
            sides.setdefault(sample.meta["group"], set()).add(part)
    assert sides.keys() == {"egg", "wood_ruler", "rug", "pen"}
    assert all(len(parts) == 1 for parts in sides.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "{objekt}"}, "'objekt'. Did you mean 'object'"),
        ({"name": "a touch"}, "says the same of everything"),
        ({"name": "{object"}, "option name="),
        ({"every": 0}, "every=0"),
        ({"frames": -1}, "frames=-1"),
    ],
)
def test_options_that_make_no_sense_are_named(
    folder: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        convert("physiclear", folder, tmp_path / "out", options=options)


def test_a_recording_in_two_lists_is_named(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "train_samples.json", folder / "test_samples.json")
    with pytest.raises(DataError, match=r"'physiclear_egg_120' is in train_samples\.json and in test_samples\.json"):
        convert("physiclear", folder, tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "message"),
    [("a = = 1", "no Python file"), ("TRAIN_OBJECTS = ['a']\nTEST_OBJECTS = ['physiclear_a']", "in train and in test")],
)
def test_tables_that_are_none_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "constants.py").write_text(text)
    with pytest.raises(DataError, match=message):
        OctopiTables.read(tmp_path / "constants.py")


def test_a_spread_is_even_and_within_bounds() -> None:
    assert _spread(range(0, 100, 1), 5) == [10, 30, 50, 70, 90]
    assert _spread(range(0, 7, 3), 5) == [0, 3, 6]
    assert _spread(range(4), 0) == [0, 1, 2, 3]
    for length in range(1, 40):
        kept = _spread(range(length), 5)
        assert len(set(kept)) == min(5, length)


def test_the_command_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["data", "convert", "physiclear", str(folder), "-o", str(tmp_path / "out"), "--quiet"]
    assert main([*arguments, "--option", "frames=2", "--option", "name=It is {object}."]) == 0
    assert "12 samples converted" in capsys.readouterr().out
    assert read_back(tmp_path / "out")["pen_0/0000000007"].values["text"] == "It is pen."


def test_without_av_a_video_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "egg_0.mov").write_bytes(b"")

    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(DataError, match=r"pip install 'pairalign\[video\]'"):
        convert("physiclear", tmp_path / "data", tmp_path / "out")


def record(path: Path, frames: int, seed: int) -> None:
    """A video of large squares, each frame its own: a key frame every fifth, and some that refer to later ones."""
    av = pytest.importorskip("av")
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = 5, 2
        for _ in range(frames):
            pixels = rng.integers(0, 255, (3, 4, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def every_frame(path: Path) -> list[np.ndarray]:
    """All frames, decoded from the start."""
    av = pytest.importorskip("av")
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_each_frame_by_its_time_is_that_of_a_decoding_from_the_start(tmp_path: Path) -> None:
    record(tmp_path / "egg_0.mov", 23, 0)
    expected, times = every_frame(tmp_path / "egg_0.mov"), frame_times(tmp_path / "egg_0.mov")
    assert len(times) == len(expected) == 23
    for place in (22, 0, 7, 5, 4, 13):
        assert np.array_equal(np.asarray(read_frame(tmp_path / "egg_0.mov", times[place])), expected[place])
    with pytest.raises(DataError, match="has no frame at"):
        read_frame(tmp_path / "egg_0.mov", times[3] + 1)


def test_videos_become_frames_and_damaged_ones_are_named(tmp_path: Path) -> None:
    home = tmp_path / "octopi"
    for place, name in enumerate(["egg_12", "egg_120", "wood_ruler_1"]):
        record(home / "dataset" / f"{name}.mov", 20, place)
    (home / "dataset" / "pen_0.mov").write_bytes((home / "dataset" / "egg_12.mov").read_bytes()[:600])
    (home / "utils").mkdir()
    (home / "utils" / "constants.py").write_text(TABLES)
    options = {"frames": 2, "text": "{hardness}"}
    done = convert("physiclear", home, tmp_path / "out", options=options, workers=2)
    found = read_back(tmp_path / "out")
    assert sorted(found) == [f"{name}/{n:010d}" for name in ("egg_12", "egg_120", "wood_ruler_1") for n in (5, 15)]
    assert found["wood_ruler_1/0000000005"].meta["split"] == "test"
    assert done.report["reasons"] == {"no properties": 1}
    expected = every_frame(home / "dataset" / "egg_120.mov")
    stored = np.asarray(found["egg_120/0000000015"].values["touch"], float)
    distance = [float(np.abs(stored - frame).mean()) for frame in expected]
    assert int(np.argmin(distance)) == 15
    assert distance[15] < 5  # a JPEG of quality 90
    small = convert("physiclear", home, tmp_path / "small", options={"frames": 1, "text": "{hardness}"}, resize=24)
    assert small.index.modalities["touch"].shape == (24, 32, 3)
    (home / "utils" / "constants.py").unlink()
    named = convert("physiclear", home, tmp_path / "named", options={"frames": 1})
    assert named.report["reasons"] == {"unreadable video": 1}
    assert isinstance(read_back(tmp_path / "named")["egg_12/0000000010"].values["touch"], Image.Image)
