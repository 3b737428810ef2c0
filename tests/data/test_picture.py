"""Any picture as an 8-bit RGB tower gets it: against rules written out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pairalign.core.errors import SignalError
from pairalign.core.registry import create_encoder
from pairalign.data.picture import byte_array, check_levels, check_pictures, common_levels, conformed, rgb_picture

RAMP = np.mgrid[:16, :16][1]
RGB = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)


def seen(value: Any, **options: Any) -> np.ndarray:
    picture = rgb_picture(value, **options)
    assert picture.mode == "RGB"
    return np.asarray(picture)


def test_bytes_stay_as_they_are_in_every_layout() -> None:
    for value in (
        RGB,
        RGB.transpose(2, 0, 1),
        Image.fromarray(RGB),
        torch.from_numpy(RGB),
        {"value": RGB},
        {"frames": [RGB]},
    ):
        np.testing.assert_array_equal(seen(value), RGB)
    np.testing.assert_array_equal(seen(RGB[..., 0]), np.repeat(RGB[..., :1], 3, 2))
    np.testing.assert_array_equal(seen(RGB[..., :1]), np.repeat(RGB[..., :1], 3, 2))


@pytest.mark.parametrize(
    "deep",
    [
        (RAMP * 4369).astype(np.uint16),
        (RAMP * 4369).astype(">u2"),
        (RAMP * 4369).astype(np.int32),
        (RAMP / 15).astype(np.float32),
        (RAMP / 15).astype(np.float16),
        (RAMP * 17.0),
        Image.fromarray((RAMP * 4369).astype(np.uint16)),
        Image.fromarray((RAMP * 4369).astype(np.int32)),
        Image.fromarray((RAMP / 15).astype(np.float32)),
    ],
    ids=["uint16", "big-endian", "int32", "float32", "float16", "float64", "I;16", "I", "F"],
)
def test_deep_pictures_and_floats_keep_their_whole_range(deep: Any) -> None:
    np.testing.assert_allclose(seen(deep)[..., 0], RAMP * 17, atol=1)


def test_bits_are_black_and_white() -> None:
    bits = RAMP > 7
    for value in (bits, Image.fromarray(bits)):
        np.testing.assert_array_equal(seen(value)[..., 1], bits * 255)


def test_transparency_is_laid_on_white_or_what_is_asked() -> None:
    clear = np.zeros((4, 4, 4), np.uint8)
    clear[..., 0], clear[:2, :, 3], clear[2:, :, 3] = 200, 255, 51
    for value in (Image.fromarray(clear), clear):
        np.testing.assert_array_equal(seen(value)[0, 0], [200, 0, 0])
        np.testing.assert_allclose(seen(value)[3, 0], [200 * 0.2 + 204, 204, 204], atol=1)
        np.testing.assert_allclose(seen(value, background=(0, 0, 0))[3, 0], [40, 0, 0], atol=1)
    grey = Image.fromarray(clear[..., [0, 3]], "LA")
    np.testing.assert_allclose(seen(grey)[3, 0], [244, 244, 244], atol=1)
    palette = Image.fromarray(np.zeros((4, 4), np.uint8), "P")
    palette.putpalette([9, 9, 9])
    palette.info["transparency"] = 0
    np.testing.assert_array_equal(seen(palette)[0, 0], [255, 255, 255])


@pytest.mark.parametrize("mode", ["P", "CMYK", "YCbCr", "HSV", "L", "1", "RGBA", "LA", "RGBX", "PA"])
def test_every_mode_of_pillow_becomes_rgb(mode: str) -> None:
    source = Image.fromarray(RGB).convert("L" if mode in ("LA", "PA") else "RGB")
    image = source.convert("P").convert("PA") if mode == "PA" else source.convert(mode)
    assert seen(image).shape == (8, 6, 3)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.array([[-3.0, 3.0]]), r"levels=\[low, high\], such as \[-3, 3\], or \[-3, 3\] to keep 0 at mid-grey"),
        (np.array([[-3, 9]], np.int16), "one cannot tell what is black"),
        (np.array([[0.0, 3000.0]]), r"floats are read from \[0, 1\] or \[0, 255\]"),
        (np.array([[0, 70000]]), "up to 16 bits"),
        (np.zeros((4, 4, 7), np.uint8), r"shape \(4, 4, 7\)"),
        (np.zeros((0, 4), np.uint8), r"shape \(0, 4\)"),
        ([RGB, RGB], "2 frames where one picture is needed"),
        ({"frames": [RGB] * 3}, "3 frames"),
        (np.array([[np.nan, 1.0]]), "one cannot tell"),
    ],
)
def test_what_has_no_rule_is_refused_with_the_fix(value: Any, words: str) -> None:
    with pytest.raises(SignalError, match=words):
        rgb_picture(value)


def test_levels_decide_and_a_difference_keeps_its_sign() -> None:
    signed = np.array([[-255, -51, 0, 51, 255, 400]], np.int16)
    np.testing.assert_array_equal(byte_array(signed, (-255, 255)), [[0, 102, 128, 153, 255, 255]])
    np.testing.assert_array_equal(byte_array(np.array([[500, 3020]], np.uint16), (500, 3020)), [[0, 255]])
    np.testing.assert_array_equal(byte_array(np.array([[0.5, 0.25]]), (0, 255)), [[0, 0]])


def test_levels_are_checked() -> None:
    assert check_levels(None) is None
    assert check_levels([0, 1]) == (0.0, 1.0)
    for wrong in ([1, 0], [1, 1], [1], "ab", 5):
        with pytest.raises(SignalError, match="levels="):
            check_levels(wrong)


def test_frames_that_belong_together_share_their_levels() -> None:
    dark, bright = np.full((2, 2), 0.9), np.full((2, 2), 200.0)
    assert common_levels([dark, bright]) == (0.0, 255.0)
    assert common_levels([dark]) == (0.0, 1.0)
    assert common_levels([RGB, Image.fromarray(RGB)]) is None


@given(
    st.integers(1, 12), st.integers(1, 12), st.sampled_from(["u1", ">u2", "<u2", "f2", "<f4", ">f8", "?"]), st.data()
)
@settings(max_examples=60, deadline=None)
def test_brighter_is_never_darker(height: int, width: int, dtype: str, data: st.DataObject) -> None:
    """The order of values survives in every type, but for rounding: no value wraps round."""
    kind = np.dtype(dtype)
    top = {"u": 255 if kind.itemsize == 1 else 65535, "f": 1.0, "b": 1}[kind.kind]
    draw = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    value = (draw.random((height, width)) * top).round(3 if kind.kind == "f" else 0).astype(kind)
    bytes_ = byte_array(value).ravel()[np.argsort(value.ravel(), kind="stable")]
    assert (np.diff(bytes_.astype(int)) >= 0).all()


def test_a_modality_is_judged_together_by_what_its_index_records() -> None:
    dark = np.array([[0.0, 0.5]], np.float32)
    told = {"dtype": "float32", "range": (0.0, 250.0)}
    np.testing.assert_array_equal(np.asarray(conformed(dark, told, None))[..., 0], [[0, 0]])
    np.testing.assert_array_equal(byte_array(dark), [[0, 128]])
    frames = conformed({"frames": [dark], "sensor": "digit"}, told, None)
    assert (frames["sensor"], frames["frames"][0].mode) == ("digit", "RGB")
    for known in ({}, {"dtype": "uint8", "range": (0, 255)}, {"dtype": "mixed", "range": (0, 255)}):
        assert conformed(dark, known, None) is dark
    np.testing.assert_array_equal(np.asarray(conformed(dark, {}, (0, 1)))[..., 0], [[0, 128]])


def test_pictures_that_are_unclear_or_nearly_flat_are_told_of_before_training() -> None:
    for dtype, low, high in (("float32", -1.0, 1.0), ("float64", 0.0, 1.5), ("float32", 0.0, 4000.0), ("int16", -5, 5)):
        with pytest.raises(SignalError, match=f"^here: image of {dtype} .*levels="):
            check_pictures({"dtype": dtype, "range": (low, high)}, None, "here")
        assert check_pictures({"dtype": dtype, "range": (low, high)}, (low, high), "here") == []
    (note,) = check_pictures({"dtype": "uint16", "range": (500, 3020)}, None, "here")
    assert "become 10 of 256 grey levels" in note
    assert "levels=[500, 3020]" in note
    for known in ({}, {"dtype": "uint16", "range": (0, 60000)}, {"dtype": "float32", "range": (0, 1)}):
        assert check_pictures(known, None, "here") == []


VIT = {"model_type": "vit", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
       "intermediate_size": 32, "image_size": 32, "patch_size": 8}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("hf_vision", {"config": VIT}),
        ("openclip_image", {"config": "tiny-vit"}),
        ("touch_cnn", {}),
        ("touch_vit", {"preset": "mini", "size": 32}),
    ],
)
def test_every_picture_encoder_sees_the_same_of_all_these(name: str, options: dict[str, Any]) -> None:
    ramp = np.mgrid[:64, :64][1] * 4
    encoder = create_encoder(name, **options)
    plain = encoder.preprocess(np.repeat(ramp.astype(np.uint8)[..., None], 3, 2))
    for value in (
        ramp.astype(np.uint16) * 257,
        Image.fromarray(ramp.astype(np.uint16) * 257),
        (ramp / 255).astype(np.float32),
        np.repeat((ramp / 255).astype(np.float32)[None], 3, 0),
        ramp.astype(np.float32),
    ):
        torch.testing.assert_close(encoder.preprocess(value), plain, atol=0.04, rtol=0)
    with pytest.raises(SignalError, match="levels"):
        encoder.preprocess(ramp.astype(np.int16) - 100)
    signed = create_encoder(name, **options, levels=[-255, 255])
    torch.testing.assert_close(
        signed.preprocess(np.zeros((64, 64), np.int16)),
        encoder.preprocess(np.full((64, 64, 3), 128, np.uint8)),
    )
