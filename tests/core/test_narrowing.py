"""Numbers in a smaller dtype: kept, or refused with what would be lost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pairalign.core.encoder import Encoder
from pairalign.core.errors import SignalError
from pairalign.core.narrowing import check_range, narrowed
from pairalign.core.registry import create_encoder
from pairalign.core.types import Features, Signal

STAMPS = 1700000000.125 + np.arange(40) / 30


@pytest.mark.parametrize("dtype", ["?", "u1", ">u2", "<u4", "u8", "i1", ">i8", "f2", ">f4", ">f8"])
def test_every_stored_type_becomes_float32(dtype: str) -> None:
    value = (np.arange(12).reshape(3, 4) % 2).astype(dtype)
    found = narrowed(value, "float32")
    assert (found.dtype, found.shape) == (torch.float32, (3, 4))
    assert found.tolist() == value.astype(float).tolist()


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (STAMPS, "vary by 1.3, and float32 keeps them to 128"),
        (np.stack([STAMPS, np.arange(40) * 9e8]), "channel 0: values from 1700000000.12"),
        (np.stack([STAMPS, np.arange(40) * 9e8], 1), "channel 0: values from 1700000000.12"),
        ((STAMPS * 1e9).astype(np.int64), "float32"),
        (np.array([5.4e6, 5.4e6 + 0.1, 5.4e6 + 0.2]), "take an origin away"),
        (np.array([2**24, 2**24 + 1, 2**24 + 2], np.uint32), "float32"),
    ],
)
def test_what_varies_by_less_than_it_is_rounded_by_is_refused(raw: Any, words: str) -> None:
    with pytest.raises(SignalError, match=words):
        narrowed(raw, "float32")
    origin = raw.min(axis=0 if raw.shape[-1] == 2 else -1, keepdims=True)
    assert narrowed(raw - origin, "float32").shape == raw.shape


def test_numbers_that_are_merely_precise_or_alone_pass() -> None:
    for raw in (np.random.default_rng(0).standard_normal((6, 80)), np.array([1700000000.125]), np.full(4, 1e9 + 0.1)):
        np.testing.assert_allclose(narrowed(raw, "float32"), raw.astype(np.float32))


def test_whole_numbers_do_not_wrap_round_and_lose_no_fraction() -> None:
    for raw in (np.array([300]), np.array([-1]), np.array([0.5])):
        with pytest.raises(SignalError, match="whole numbers of uint8"):
            narrowed(raw, "uint8")
    assert narrowed(np.array([255.0]), "uint8").tolist() == [255]


def test_16_bits_are_judged_alike() -> None:
    with pytest.raises(SignalError, match="float16 keeps them to"):
        narrowed(np.arange(1024, 1030, 0.25, np.float32), "float16")


def test_what_is_no_array_of_numbers_is_named() -> None:
    with pytest.raises(SignalError, match="no array of numbers"):
        narrowed(np.array(["a"]), "float32")


def test_the_range_of_a_modality_is_judged_before_it_is_read() -> None:
    check_range(0.0, 1700000000.0, "float32", "here")
    check_range(5.0, 5.0, "float32", "here")
    check_range(0.0, 0.0, "float32", "here")
    with pytest.raises(SignalError, match=r"^here: .*keeps them to 128"):
        check_range(1700000000.0, 1700000060.0, "float32", "here")


class Clock(Encoder):
    signal = Signal("vector", (1,))

    def forward(self, batch: Tensor) -> Features:
        return Features(batch[:, None], batch)


class Centred(Clock):
    def preprocess(self, raw: Any) -> Tensor:
        return torch.as_tensor(raw - 1700000000.0).float()


def test_time_stamps_are_refused_unless_the_encoder_reads_them_itself() -> None:
    recorded = {"range": (1700000000.125, 1700000000.225)}
    with pytest.raises(SignalError, match="field 'stamp': values from 1700000000"):
        Clock(1).check_data(recorded, "field 'stamp'")
    assert Centred(1).check_data(recorded, "field 'stamp'") == []


def test_a_series_on_a_high_level_is_centred_before_it_is_narrowed() -> None:
    raw = 5.4e6 + np.sin(np.arange(64))[None]
    encoder = create_encoder("series", length=64, standardise=True, patch=8)
    want = (raw - raw.mean()) / raw.std(ddof=1)
    np.testing.assert_allclose(encoder.preprocess(raw.astype(">f8")), want, atol=1e-6)
    with pytest.raises(SignalError, match="float32 keeps them to"):
        create_encoder("series", length=64, patch=8).preprocess(raw)
