"""A JPEG that is taken without decoding is one that the decoder takes, and of its shape; damaged ones never are."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pairalign.core.errors import DataError
from pairalign.data.decode import decode
from pairalign.data.jpeg import WholeJpegs

RNG = np.random.default_rng(0)


def jpeg(array: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "JPEG", **options)
    return stream.getvalue()


def noise(height: int, width: int, *channels: int) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, *channels), dtype=np.uint8)


def taught(data: bytes) -> WholeJpegs:
    known = WholeJpegs()
    known.learn(data, np.asarray(decode("jpg", data)).shape)
    return known


FIRST = jpeg(noise(48, 64, 3))
KNOWN = taught(FIRST)
OTHER = jpeg(noise(48, 64, 3), exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0", comment=b"frame 7")


def test_a_later_file_of_the_same_recording_needs_no_decoder() -> None:
    assert WholeJpegs().shape(OTHER) is None  # nothing was decoded yet
    assert KNOWN.shape(OTHER) == (48, 64, 3)
    assert taught(jpeg(noise(40, 24))).shape(jpeg(noise(40, 24))) == (40, 24)


@pytest.mark.parametrize(
    "data",
    [
        jpeg(noise(48, 72, 3)),
        jpeg(noise(48, 64)),
        jpeg(noise(48, 64, 3), quality=50),
        jpeg(noise(48, 64, 3), subsampling=0),
        jpeg(noise(48, 64, 3), progressive=True),
        jpeg(noise(48, 64, 3), restart_marker_blocks=4),
        jpeg(noise(48, 64, 3), optimize=True),
    ],
    ids=["size", "grey", "quality", "subsampling", "progressive", "restarts", "own-tables"],
)
def test_another_kind_of_file_is_left_to_the_decoder(data: bytes) -> None:
    assert KNOWN.shape(data) is None


def test_files_with_restarts_or_in_several_scans_are_decoded_each_time() -> None:
    for options in ({"restart_marker_blocks": 4}, {"progressive": True}):
        data = jpeg(noise(48, 64, 3), **options)
        assert taught(data).shape(data) is None


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 100, 300, 620, -600, -300, -2, -1])
def test_a_cut_file_is_left_to_the_decoder(cut: int) -> None:
    assert KNOWN.shape(OTHER[:cut] if cut else b"") is None
    assert KNOWN.shape(OTHER[:cut] + bytes(len(OTHER[cut:]))) is None  # a download that reserved its space


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(OTHER) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_what_is_taken_undecoded_the_decoder_takes_too(changes: list[tuple[int, int]]) -> None:
    data = bytearray(OTHER)
    for place, value in changes:
        data[place] = value
    shape = KNOWN.shape(bytes(data))
    if shape is not None:
        assert np.asarray(decode("jpg", bytes(data))).shape == shape


@pytest.mark.parametrize("value", [0, 127, 255])
@pytest.mark.parametrize("options", [{}, {"quality": 20}, {"subsampling": 0}, {"optimize": True}])
def test_a_picture_of_one_colour_is_never_taken(value: int, options: dict[str, Any]) -> None:
    for shape in ((8, 8), (48, 64, 3), (241, 319, 3), (480, 640)):
        flat = jpeg(np.full(shape, value, np.uint8), **options)
        assert taught(flat).shape(flat) is None


def test_a_smooth_picture_is_taken() -> None:
    """The bound for one colour must lie below what soft gels need, or nothing is gained."""
    rows, columns = np.mgrid[:240, :320]
    bump = 90 * np.exp(-((rows - 120) ** 2 + (columns - 160) ** 2) / 4000)
    gel = np.stack([100 + bump, 120 - 0.3 * bump, 80 + columns / 8], -1)
    gel = (gel + RNG.normal(0, 1.5, gel.shape)).astype(np.uint8)  # as quiet as a camera gets
    assert taught(jpeg(gel)).shape(jpeg(gel)) == (240, 320, 3)


def test_files_with_tables_of_their_own_do_not_fill_memory() -> None:
    known = WholeJpegs()
    for _ in range(200):
        known.learn(jpeg(noise(16, 16, 3), optimize=True), (16, 16, 3))
    assert len(known._known) <= 64


def test_no_jpeg_teaches_nothing() -> None:
    known = WholeJpegs()
    for data in (b"", b"\xff\xd8", b"\xff\xd8\xff\xda\x00\x00", b"\x89PNG\r\n", FIRST[:200]):
        known.learn(data, (1, 1))
        assert known.shape(data) is None
    with pytest.raises(DataError, match="no valid jpg"):
        decode("jpg", FIRST[:200])
