"""Frames of videos and animations: which ones, in what order, when, and upright."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pairalign.cli.main import main
from pairalign.core.errors import DataError
from pairalign.data.decode import read_signal
from pairalign.data.pack import pack_pairs
from pairalign.data.shards import read_samples
from pairalign.data.video import VideoFrames, is_video, read_frames

av = pytest.importorskip("av")


def greys(count: int) -> list[Image.Image]:
    found = [Image.new("RGB", (32, 16), (20 * n, 20 * n, 20 * n)) for n in range(count)]
    for picture in found:
        picture.paste((255, 255, 255), (0, 0, 8, 4))
    return found


def video(path: Path, count: int = 10, rate: int = 5, codec: str = "mpeg4") -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        for picture in greys(count):
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())
    return path


def levels(pictures: list[Any]) -> list[int]:
    return [round(float(np.median(np.asarray(picture.convert("RGB")))) / 20) for picture in pictures]


@pytest.mark.parametrize(
    ("choice", "places"),
    [
        (VideoFrames(4), [0, 3, 6, 9]),
        (VideoFrames(3, "first"), [0, 1, 2]),
        (VideoFrames(3, "last"), [7, 8, 9]),
        (VideoFrames(2, "middle"), [4, 5]),
        (VideoFrames(1), [5]),
        (VideoFrames(99), list(range(10))),
    ],
)
@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mkv"])
def test_the_frames_that_were_chosen_are_read_in_order(
    tmp_path: Path, name: str, choice: VideoFrames, places: list[int]
) -> None:
    found = read_frames(video(tmp_path / name), choice)
    assert levels(found.pictures) == places
    np.testing.assert_allclose(found.seconds, [place / 5 for place in places], atol=0.011)
    assert found.rate == 5


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tiff"])
def test_an_animated_picture_is_a_video_too(tmp_path: Path, name: str) -> None:
    first, *rest = greys(10)
    options = {"lossless": True} if name == "a.webp" else {}
    first.save(tmp_path / name, save_all=True, append_images=rest, duration=200, **options)
    assert is_video(tmp_path / name)
    found = read_frames(tmp_path / name, VideoFrames(4))
    assert levels(found.pictures) == [0, 3, 6, 9]
    if name != "a.tiff":
        np.testing.assert_allclose(found.seconds, [0, 0.6, 1.2, 1.8], atol=0.01)
    first.save(tmp_path / f"one{name}")
    assert not is_video(tmp_path / f"one{name}")


def test_a_video_is_packed_as_frames_with_their_times(tmp_path: Path) -> None:
    rows = [{"key": str(n), "clip": video(tmp_path / f"{n}.mp4", 8 + n), "text": f"clip {n}"} for n in range(2)]
    index = pack_pairs(rows, tmp_path / "out", video=VideoFrames(3), progress=False)
    assert (index.modalities["clip"].ext, index.modalities["clip"].parts) == (("jpg",), ("00", "01", "02"))
    for sample in read_samples(tmp_path / "out", "train", ["clip"]):
        frames = sample.values["clip"]["frames"]
        assert levels(frames) == ([0, 4, 7] if sample.key == "0" else [0, 4, 8])
        assert sample.meta["frames"]["clip"] == {
            "seconds": pytest.approx([0, 0.8, 1.4 + 0.2 * int(sample.key)]),
            "rate": 5,
        }


def test_another_choice_of_frames_is_another_pack(tmp_path: Path) -> None:
    rows = [{"clip": video(tmp_path / "a.mp4"), "text": "a"}]
    one = pack_pairs(rows, tmp_path / "one", video=VideoFrames(2), progress=False)
    two = pack_pairs(rows, tmp_path / "two", video=VideoFrames(2, "first"), progress=False)
    assert one.content_hash != two.content_hash


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.mov"])
def test_what_is_no_video_is_named(tmp_path: Path, name: str) -> None:
    for data in (b"", b"no video", video(tmp_path / "whole.mp4").read_bytes()[:300]):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(
            DataError, match=rf"sample '00000000': clip: file '{name}': .*(cannot be read|no frames|damaged)"
        ):
            pack_pairs([{"clip": tmp_path / name, "text": "a"}], tmp_path / "out", progress=False)


def test_a_video_is_no_part_and_no_frame(tmp_path: Path) -> None:
    clip = video(tmp_path / "a.mp4")
    for value in ({"value": np.arange(4.0), "background": clip}, [clip, clip]):
        with pytest.raises(DataError, match="a video can be a modality of its own"):
            pack_pairs([{"touch": value, "text": "a"}], tmp_path / "out", progress=False)


def test_a_choice_of_frames_is_checked() -> None:
    for wrong in ({"count": 0}, {"count": 5000}, {"which": "best"}):
        with pytest.raises(DataError, match="frames"):
            VideoFrames(**wrong)  # type: ignore[arg-type]
    assert VideoFrames.parse("16") == VideoFrames(16)
    assert VideoFrames.parse("4:first") == VideoFrames(4, "first")
    for text in ("many", "4:best", "0"):
        with pytest.raises(DataError, match="frames"):
            VideoFrames.parse(text)


def test_a_video_that_is_asked_about_gives_frames(tmp_path: Path) -> None:
    assert len(read_signal(video(tmp_path / "a.mp4"))["frames"]) == 8


def test_the_command_line_chooses_frames(tmp_path: Path) -> None:
    video(tmp_path / "a.mp4")
    (tmp_path / "m.jsonl").write_text('{"clip": "a.mp4", "text": "a"}')
    words = ["data", "pack", str(tmp_path / "m.jsonl"), str(tmp_path / "out"), "--quiet"]
    assert main([*words, "--frames", "3:last"]) == 0
    sample = next(iter(read_samples(tmp_path / "out", "train", ["clip"])))
    assert levels(sample.values["clip"]["frames"]) == [7, 8, 9]
    assert main([*words, "--overwrite", "--frames", "3:best"]) == 2
