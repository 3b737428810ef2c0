"""Whatever is packed is read as it was, or refused by name: pictures of every mode, damaged files of every format."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from small_files import small_file

from pairalign.core.errors import DataError
from pairalign.data.decode import decode, read_signal
from pairalign.data.encode import ImageFormat, encode
from pairalign.data.formats import FORMATS
from pairalign.data.picture import rgb_picture
from pairalign.data.rows import Row
from pairalign.data.write import WriteOptions, encode_row

EXACT = ("1", "L", "LA", "RGB", "RGBA", "I;16", "I;16B", "I", "F")
CONVERTED = ("P", "PA", "CMYK", "YCbCr", "HSV", "La", "RGBa", "RGBX")
sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))


def picture(mode: str, size: tuple[int, int], seed: int) -> Image.Image:
    draw = np.random.default_rng(seed)
    deep = draw.integers(0, 65536, size[::-1]).astype(np.uint16)
    if mode in ("I;16", "I;16B"):
        return Image.frombytes(mode, size, deep.astype("<u2" if mode == "I;16" else ">u2").tobytes())
    if mode in ("I", "F"):
        return Image.fromarray(deep.astype(np.int32) - 9 if mode == "I" else (deep / 7).astype(np.float32))
    colours = Image.fromarray(draw.integers(0, 256, (*size[::-1], 4), dtype=np.uint8))
    grey = {"1": "L", "L": "L", "LA": "LA", "La": "LA", "PA": "P"}.get(mode)
    if mode == "PA":
        return colours.convert("RGB").convert("P").convert("PA")
    if mode in ("RGBA", "RGBa", *(["LA", "La"] if mode in ("LA", "La") else [])):
        return (colours.convert(grey) if grey else colours).convert(mode)
    return colours.convert("RGB").convert(grey or "RGB").convert(mode)


@given(st.sampled_from(EXACT), sizes, st.integers(0, 2**32))
@settings(max_examples=120, deadline=None)
def test_pictures_of_these_modes_come_back_to_the_pixel(mode: str, size: tuple[int, int], seed: int) -> None:
    given_ = picture(mode, size, seed)
    back = decode(*encode(given_, ImageFormat("png")))
    np.testing.assert_array_equal(np.asarray(back), np.asarray(given_).astype(np.asarray(back).dtype))


@given(st.sampled_from(CONVERTED), sizes, st.integers(0, 2**32))
@settings(max_examples=120, deadline=None)
def test_pictures_of_the_others_are_shown_as_they_were(mode: str, size: tuple[int, int], seed: int) -> None:
    given_ = picture(mode, size, seed)
    back = decode(*encode(given_, ImageFormat("png")))
    np.testing.assert_array_equal(np.asarray(rgb_picture(back)), np.asarray(rgb_picture(given_)))


@given(
    st.sampled_from(("RGB", "L", "RGBA", "P", "I;16", "1")),
    sizes,
    st.sampled_from(("PNG", "TIFF", "WEBP", "GIF", "BMP")),
)
@settings(max_examples=80, deadline=None)
def test_files_of_these_modes_are_stored_to_the_byte(mode: str, size: tuple[int, int], kind: str) -> None:
    stream = io.BytesIO()
    try:
        picture(mode, size, 0).save(stream, kind)
    except (OSError, ValueError):
        return  # the format does not know the mode
    back = decode(kind.lower(), stream.getvalue())
    stream.seek(0)
    np.testing.assert_array_equal(np.asarray(back), np.asarray(Image.open(stream)))


@pytest.mark.parametrize("extension", FORMATS)
def test_damaged_files_are_read_or_refused_and_raise_nothing_else(tmp_path: Path, extension: str) -> None:
    whole = small_file(tmp_path, extension).read_bytes()
    draw = np.random.default_rng(len(extension) + len(whole))
    path = tmp_path / f"damaged.{extension}"
    for number in range(15):
        data = bytearray(whole[: draw.integers(len(whole))] if number % 3 == 0 else whole)
        reach = 120 if number % 3 == 1 else len(data)
        for _ in range(int(draw.integers(0, 9))):
            if data:
                data[draw.integers(min(len(data), reach))] = draw.integers(256)
        path.write_bytes(bytes(data))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for read in (
                lambda: encode_row(Row("k", "train", {"thing": path}, {}), WriteOptions(), {}),
                lambda: read_signal(path),
            ):
                with contextlib.suppress(DataError):
                    read()
