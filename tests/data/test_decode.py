"""Decoding against values that were written by other means; damaged bytes are named, never guessed."""

from __future__ import annotations

import io
import pickle
import wave
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pairalign.core.errors import DataError
from pairalign.data.decode import DECODERS, content_id, decode, wav_rate
from pairalign.data.encode import ImageFormat, encode, is_numeric

RNG = np.random.default_rng(0)


def wav_bytes(samples: list[list[int]], width: int, rate: int = 8000) -> bytes:
    """Interleave channels of integers by hand."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as out:
        out.setparams((len(samples), width, rate, 0, "NONE", ""))
        for frame in zip(*samples, strict=True):
            for value in frame:
                out.writeframes((value + 128 if width == 1 else value).to_bytes(width, "little", signed=width > 1))
    return stream.getvalue()


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_wav_is_scaled_to_one_for_every_width(width: int) -> None:
    full = 2 ** (8 * width - 1)
    mono = [0, full // 2, -full, full - 1]
    value = decode("wav", wav_bytes([mono], width))
    assert value.shape == (4,)
    assert value.dtype == np.float32
    np.testing.assert_allclose(value, [v / full for v in mono], atol=1e-7)


def test_wav_channels_come_first_and_the_rate_is_read() -> None:
    data = wav_bytes([[1, 2, 3], [-1, -2, -3]], 2, rate=22050)
    np.testing.assert_allclose(decode("wav", data) * 32768, [[1, 2, 3], [-1, -2, -3]])
    assert wav_rate(data) == 22050


def test_a_wav_that_was_cut_is_refused() -> None:
    with pytest.raises(DataError, match="wav"):
        decode("wav", wav_bytes([[1] * 100], 2)[:-40])


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "I;16", "1"])
def test_a_lossless_image_keeps_every_pixel_and_its_depth(mode: str) -> None:
    raw = RNG.integers(0, 60000, (9, 7)).astype(np.uint16)
    image = Image.fromarray(raw) if mode == "I;16" else Image.fromarray((raw % 256).astype(np.uint8)).convert(mode)
    extension, data = encode(image, ImageFormat("png"))
    back = decode(extension, data)
    assert extension == "png"
    np.testing.assert_array_equal(np.asarray(back), np.asarray(image))


@pytest.mark.parametrize(("mode", "extension"), [("RGB", "jpg"), ("P", "jpg"), ("CMYK", "jpg"), ("RGBA", "png")])
def test_modes_that_jpeg_cannot_hold_become_png_or_rgb(mode: str, extension: str) -> None:
    image = Image.fromarray(RNG.integers(0, 255, (8, 8, 3), dtype=np.uint8)).convert(mode)
    found, data = encode(image, ImageFormat("jpg", 95))
    assert found == extension
    assert decode(found, data).size == (8, 8)


def test_32_bit_images_become_arrays() -> None:
    depth = np.linspace(0, 9, 20, dtype=np.float32).reshape(4, 5)
    np.testing.assert_array_equal(decode(*encode(Image.fromarray(depth), ImageFormat())), depth)


def test_pgm_of_16_bits_is_read() -> None:
    raw = RNG.integers(0, 65535, (3, 4)).astype(">u2")
    value = np.asarray(decode("pgm", b"P5 4 3 65535\n" + raw.tobytes()))
    np.testing.assert_array_equal(value, raw)


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6, dtype=np.int16).reshape(2, 3),
        np.asfortranarray(RNG.normal(size=(3, 4))),
        np.array(2.5, np.float16),
        np.arange(3, dtype=">f4"),
        np.array([True, False]),
    ],
)
def test_arrays_come_back_equal(value: np.ndarray) -> None:
    extension, data = encode(value, ImageFormat())
    back = decode(extension, data)
    assert back.dtype == value.dtype.newbyteorder("=")
    np.testing.assert_array_equal(back, value)


def test_text_numbers_and_json_come_back() -> None:
    assert decode(*encode("Grüße, 触覚", ImageFormat())) == "Grüße, 触覚"
    np.testing.assert_array_equal(decode(*encode([1, 2.5], ImageFormat())), np.float32([1, 2.5]))
    assert decode(*encode({"b": [1], "a": None}, ImageFormat())) == {"a": None, "b": [1]}


def test_a_pickle_is_never_loaded() -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (pytest.fail, ("a pickle was loaded",))

    stream = io.BytesIO()
    np.save(stream, np.array([Evil()], dtype=object), allow_pickle=True)
    for extension in DECODERS:
        for data in (pickle.dumps(Evil()), stream.getvalue()):
            try:
                decode(extension, data)
            except DataError:
                continue
            pytest.fail(f"{extension} accepted a pickle")


def jpeg() -> bytes:
    return encode(Image.fromarray(RNG.integers(0, 255, (64, 64, 3), dtype=np.uint8)), ImageFormat())[1]


@pytest.mark.parametrize(
    ("extension", "data", "words"),
    [
        ("jpg", jpeg()[:-300], "no valid jpg"),
        ("png", b"not an image", "no valid png"),
        ("npy", encode(np.ones(50), ImageFormat())[1][:-8], "no valid npy"),
        ("npy", encode(np.array([1.0, np.nan, np.inf]), ImageFormat())[1], "NaN or infinity in 2 of 3"),
        ("json", b"{", "no valid json"),
        ("txt", b"\xff\xfe", "no valid txt"),
        ("jpgg", b"", "Did you mean 'jpg'"),
    ],
)
def test_damage_is_named(extension: str, data: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        decode(extension, data)


def test_values_that_have_no_stored_form_are_refused() -> None:
    for value in (object(), np.array(["a"]), np.array([{}], dtype=object)):
        with pytest.raises(DataError, match="cannot be stored"):
            encode(value, ImageFormat())
    with pytest.raises(DataError, match="quality 101"):
        ImageFormat("jpg", 101)


def test_is_numeric_accepts_nested_lists_of_equal_length_only() -> None:
    assert all(is_numeric(v) for v in (1, 2.5, [1, 2], [[1, 2], [3, 4]]))
    assert not any(is_numeric(v) for v in (True, "1", [], [1, "a"], [[1], [1, 2]], [1, [2]], {"a": 1}))


def test_content_ids_join_equal_captions_and_equal_bytes_only() -> None:
    assert content_id("txt", [b"A  blue\nBowl "]) == content_id("txt", [b"a blue bowl"])
    assert content_id("txt", [b"a blue bowl"]) != content_id("txt", [b"a red bowl"])
    assert content_id("npy", [b"A"]) != content_id("npy", [b"a"])
    assert content_id("npy", [b"ab", b"c"]) != content_id("npy", [b"a", b"bc"])
    assert all(0 <= content_id("npy", [bytes([i])]) < 2**63 for i in range(200))
