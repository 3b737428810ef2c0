"""Series: another rate is refused, lengths are cut and padded as stated, views move in time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pairalign.core.errors import ConfigError, SignalError
from pairalign.core.registry import create_encoder

IMU = {"channels": 2, "length": 64, "rate": 100.0, "unit": "m/s2", "width": 16, "layers": 2}


def test_long_recordings_keep_their_middle_and_short_ones_are_padded() -> None:
    encoder = create_encoder("series", **IMU)
    ramp = np.stack([np.arange(100.0), -np.arange(100.0)])
    assert encoder.preprocess(ramp)[0].tolist() == list(np.arange(18.0, 82.0))
    short = encoder.preprocess(ramp[:, :10])
    assert short[0].tolist() == [*np.arange(10.0), *[0.0] * 54]


def test_another_rate_and_another_shape_are_refused() -> None:
    encoder = create_encoder("series", **IMU)
    assert encoder.preprocess((np.zeros((2, 64)), 100.0)).shape == (2, 64)
    with pytest.raises(SignalError, match=r"at 50\.0 Hz, but the encoder declares 100\.0 Hz"):
        encoder.preprocess((np.zeros((2, 64)), 50.0))
    with pytest.raises(SignalError, match=r"give \(2, T\), channels first"):
        encoder.preprocess(np.zeros((3, 64)))


def test_standardise_forgets_offset_and_gain() -> None:
    encoder = create_encoder("series", **IMU, standardise=True)
    raw = np.random.default_rng(0).normal(size=(2, 64))
    torch.testing.assert_close(encoder.preprocess(raw), encoder.preprocess(7 * raw + 3), atol=1e-5, rtol=0)
    plain = create_encoder("series", **IMU)
    assert not torch.allclose(plain.preprocess(raw), plain.preprocess(7 * raw + 3))


def test_a_view_is_a_shift_with_zeros_and_a_gain() -> None:
    encoder = create_encoder("series", **IMU)
    value = torch.rand(2, 64) + 1
    for seed in range(6):
        view = encoder.augment(value, torch.Generator().manual_seed(seed))
        shift = next(s for s in range(-6, 7) if _is_shift(value, view, s))
        assert abs(shift) <= 6


def _is_shift(value: torch.Tensor, view: torch.Tensor, shift: int) -> bool:
    moved = torch.zeros_like(value)
    if shift >= 0:
        moved[:, shift:] = value[:, : 64 - shift]
    else:
        moved[:, :shift] = value[:, -shift:]
    on = moved != 0
    gains = view[on] / moved[on]
    return bool((view[~on] == 0).all()) and float(gains.max() - gains.min()) < 1e-5 and 0.9 <= float(gains[0]) <= 1.1


def test_the_spectrogram_front_sees_the_pitch() -> None:
    torch.manual_seed(0)
    encoder = create_encoder("series", channels=1, length=2048, rate=8000.0, front="spectrogram", window=256, width=16)
    time = torch.arange(2048) / 8000
    sounds = torch.stack([torch.sin(2 * torch.pi * pitch * time) for pitch in (500, 2000)])
    frames = encoder._spectrogram(sounds[:, None])
    assert frames[:, :, 16].argmax(1).tolist() == [500 * 256 // 8000, 2000 * 256 // 8000]


@pytest.mark.parametrize(
    ("options", "words"),
    [({"front": "patch"}, "Did you mean 'patches'"), ({"length": 8}, "shorter than one patch")],
)
def test_wrong_options_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        create_encoder("series", **options)
