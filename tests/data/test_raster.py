"""Pictures read by content, upright, of a bounded size; nothing is ever run for one."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pairalign.core.errors import DataError
from pairalign.data.decode import decode
from pairalign.data.encode import ImageFormat, encode
from pairalign.data.jpeg import WholeJpegs
from pairalign.data.pack import pack_pairs
from pairalign.data.raster import ORIENTATION, orientation, picture_extension, read_picture, upright
from pairalign.data.shards import read_samples
from pairalign.data.video import is_video

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 48, 3), dtype=np.uint8)


def saved(kind: str, turn: int = 1, image: Any = None, **options: Any) -> bytes:
    notes = Image.Exif()
    notes[ORIENTATION] = turn
    stream = io.BytesIO()
    (image or Image.fromarray(PIXELS)).save(stream, kind, exif=notes, **options)
    return stream.getvalue()


# How the pixels of each orientation are turned back, written out by hand.
BACK = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("turn", BACK)
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_a_picture_is_turned_as_its_notes_say(kind: str, turn: int) -> None:
    data = saved(kind, turn, **({"lossless": True} if kind == "WEBP" else {}))
    image = read_picture(data, kind.lower())
    np.testing.assert_array_equal(np.asarray(image), BACK[turn](PIXELS))
    assert orientation(image) == 1
    np.testing.assert_array_equal(np.asarray(upright(image)), np.asarray(image))


def test_a_photo_given_as_a_picture_is_stored_upright() -> None:
    image = Image.open(io.BytesIO(saved("JPEG", 6)))
    assert decode(*encode(image, ImageFormat())).size == (24, 48)


def test_damaged_notes_turn_nothing() -> None:
    whole = saved("JPEG", 6)
    at = whole.index(b"Exif")
    assert read_picture(whole[: at + 8] + b"\xff" * 12 + whole[at + 20 :], "jpg").size == (48, 24)


def test_a_turned_jpeg_is_known_by_the_shape_that_is_shown() -> None:
    known = WholeJpegs()
    straight, turned = saved("JPEG", 1), saved("JPEG", 6)
    known.learn(turned, (48, 24, 3))
    assert known.shape(straight) is None
    known.learn(straight, (24, 48, 3))
    assert known.shape(straight) == (24, 48, 3)
    assert known.shape(turned) is None


def test_photos_of_all_orientations_have_one_index_entry_that_is_true(tmp_path: Path) -> None:
    for n, turn in enumerate((1, 6, 1, 8)):
        (tmp_path / f"{n}.jpg").write_bytes(saved("JPEG", turn))
    rows = [{"key": str(n), "image": tmp_path / f"{n}.jpg", "text": f"photo {n}"} for n in range(4)]
    index = pack_pairs(rows, tmp_path / "out", progress=False)
    assert index.modalities["image"].shape == (None, None, 3)
    sizes = {s.key: s.values["image"].size for s in read_samples(tmp_path / "out", "train", ["image"])}
    assert sizes == {"0": (48, 24), "1": (24, 48), "2": (48, 24), "3": (24, 48)}


@pytest.mark.parametrize(("kind", "name"), [("PNG", "jpg"), ("WEBP", "png"), ("JPEG", "tiff"), ("BMP", "jpeg")])
def test_the_content_counts_not_the_name(tmp_path: Path, kind: str, name: str) -> None:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, kind)
    (tmp_path / f"x.{name}").write_bytes(stream.getvalue())
    extension, data = encode(tmp_path / f"x.{name}", ImageFormat())
    assert extension == {"PNG": "png", "WEBP": "webp", "JPEG": "jpg", "BMP": "bmp"}[kind]
    assert data == stream.getvalue()
    assert decode(extension, data).size == (48, 24)


def test_a_deep_png_called_jpg_is_not_recorded_as_bytes(tmp_path: Path) -> None:
    Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 100).save(tmp_path / "x.png")
    (tmp_path / "x.png").rename(tmp_path / "x.jpg")
    index = pack_pairs([{"depth": tmp_path / "x.jpg", "text": "a"}], tmp_path / "out", progress=False)
    assert (index.modalities["depth"].dtype, index.modalities["depth"].range) == ("uint16", (0.0, 59900.0))


@pytest.mark.parametrize("name", ["jpg", "png", "tiff", "webp", "tga", "icns", "ico"])
def test_a_program_for_a_printer_is_refused_and_none_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    mark = tmp_path / "mark"
    tool = tmp_path / "gs"
    tool.write_text(f"#!/bin/sh\ntouch {mark}\necho 10.0\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    page = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(x) show\nshowpage\n%%EOF\n"
    with pytest.raises(DataError, match=f"no valid {name}"):
        decode(name, page)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["png", "webp", "gif", "jpg"])
def test_a_bomb_is_refused_by_its_header(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (300, 300)).save(stream, "JPEG" if name == "jpg" else name.upper())
    monkeypatch.setenv("PAIRALIGN_MAX_PIXELS", "89_999")
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(DataError, match=r"too large: 90,000 pixels, and at most 89,999 are read.*PAIRALIGN_MAX_PIXELS"):
        decode(name, stream.getvalue())


@pytest.mark.parametrize(("most", "told"), [(89_999, "more than 89,999"), (90_000, "")])
def test_the_bound_that_a_user_gave_pillow_holds_too(monkeypatch: pytest.MonkeyPatch, most: int, told: str) -> None:
    stream = io.BytesIO()
    Image.new("L", (300, 300)).save(stream, "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
    if told:
        with pytest.raises(DataError, match=told):
            decode("png", stream.getvalue())
    else:
        assert decode("png", stream.getvalue()).size == (300, 300)


def test_a_bound_above_pillows_own_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.BytesIO()
    Image.new("L", (300, 300)).save(stream, "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match="more than 1,000 pixels"):
        decode("png", stream.getvalue())
    monkeypatch.setenv("PAIRALIGN_MAX_PIXELS", "1e5")
    assert decode("png", stream.getvalue()).size == (300, 300)


def test_a_large_picture_within_the_bound_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.BytesIO()
    Image.new("L", (300, 300)).save(stream, "PNG")
    monkeypatch.setenv("PAIRALIGN_MAX_PIXELS", "90_000")
    assert decode("png", stream.getvalue()).size == (300, 300)


def test_bytes_that_are_no_picture_have_no_extension() -> None:
    with pytest.raises(DataError, match="nor a picture of another"):
        picture_extension(b"RIFF1234WAVEfmt ", "jpg")


def test_a_photo_with_a_second_picture_behind_it_is_one_photo(tmp_path: Path) -> None:
    """Phones and stereo cameras write MPO: a JPEG, and others after it."""
    first, second = Image.fromarray(PIXELS), Image.new("RGB", (48, 24))
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second], quality=95)
    assert not is_video(tmp_path / "a.jpg")
    index = pack_pairs([{"image": tmp_path / "a.jpg", "text": "a"}], tmp_path / "out", progress=False)
    assert (index.modalities["image"].ext, index.modalities["image"].parts) == (("jpg",), ("",))
    value = next(iter(read_samples(tmp_path / "out", "train", ["image"]))).values["image"]
    assert float(np.asarray(value).std()) > 20
