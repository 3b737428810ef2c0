"""A recording of several channels at a stated rate, by dilated convolutions over patches or a spectrogram.

Source: dilated residual convolutions as in TCN (arXiv:1803.01271); log-magnitude spectrogram of a short-time Fourier
transform for sound.

Note:
    A recording at another rate is refused, never resampled in silence; a longer one is cut to its middle, a shorter one
    padded with zeros at its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pairalign.core.card import load_card
from pairalign.core.encoder import Encoder
from pairalign.core.errors import ConfigError, SignalError, did_you_mean
from pairalign.core.narrowing import narrowed
from pairalign.core.registry import register_encoder
from pairalign.core.types import Features, Signal

FRONTS = ("patches", "spectrogram")


@register_encoder("series")
class Series(Encoder):
    """A recording (channels, length) → tokens over time and their mean and maximum, joined.

    channels, length (samples), rate (Hz), unit: of the signal. front: "patches" of `patch` samples, or "spectrogram"
    with windows of `window` samples, four to a window. width: D. layers: residual blocks, each doubling the dilation.
    standardise: each recording's channels to mean 0 and variance 1, which forgets absolute values.
    """

    card = load_card("pairalign_series", "series")
    hann: Tensor

    def __init__(
        self,
        channels: int = 1,
        length: int = 1024,
        rate: float = 100.0,
        unit: str = "1",
        front: str = "patches",
        patch: int = 16,
        window: int = 512,
        width: int = 128,
        layers: int = 4,
        standardise: bool = False,
    ) -> None:
        super().__init__(width)
        if front not in FRONTS:
            raise ConfigError(f"front={front!r}.{did_you_mean(front, FRONTS)}")
        if length < (patch if front == "patches" else window):
            raise ConfigError(f"length={length} is shorter than one {front[:-1]}: raise it, or lower patch or window.")
        self.front, self.window, self.standardise = front, window, standardise
        self.signal = Signal("series", (channels, length), unit=unit, rate=rate, axes=("channel", "time"))
        if front == "spectrogram":
            self.register_buffer("hann", torch.hann_window(window), persistent=False)
            self.stem: nn.Module = nn.Conv1d(channels * (window // 2 + 1), width, kernel_size=3, padding=1)
        else:
            self.stem = nn.Conv1d(channels, width, kernel_size=patch, stride=max(1, patch // 2))
        self.layers = nn.ModuleList(_Residual(width, 2**i) for i in range(layers))
        self.join = nn.Linear(2 * width, width)

    def preprocess(self, raw: Any) -> Tensor:
        """An array (T,) or (C, T), or (array, rate) as sound files give → (channels, length)."""
        if isinstance(raw, tuple):
            raw, rate = raw
            if rate != self.signal.rate:
                raise SignalError(
                    f"recording at {rate} Hz, but the encoder declares {self.signal.rate} Hz: resample the data, "
                    f"or set the option rate={rate}."
                )
        array = np.atleast_2d(np.asarray(raw, dtype=np.float64))
        channels, length = (int(size or 0) for size in self.signal.shape)
        if array.ndim != 2 or array.shape[0] != channels:
            raise SignalError(f"recording of shape {array.shape}: give ({channels}, T), channels first.")
        start = max(0, (array.shape[1] - length) // 2)
        array = array[:, start : start + length]
        if not self.standardise:
            value = narrowed(array, self.signal.dtype)
            return torch.nn.functional.pad(value, (0, length - array.shape[1]))
        value = torch.from_numpy(np.pad(array, ((0, 0), (0, length - array.shape[1]))))
        return ((value - value.mean(1, keepdim=True)) / value.std(1, keepdim=True).clamp(min=1e-6)).float()

    def augment(self, value: Tensor, generator: torch.Generator) -> Tensor:
        """A random shift in time by up to a tenth, zeros moving in, and a change of gain by up to a tenth."""
        length = value.shape[1]
        most = length // 10
        shift = int(torch.randint(-most, most + 1, (), generator=generator))
        moved = torch.roll(value, shift, dims=1)
        if shift > 0:
            moved[:, :shift] = 0
        elif shift < 0:
            moved[:, shift:] = 0
        return moved * float(0.9 + 0.2 * torch.rand((), generator=generator))

    def blocks(self) -> Sequence[nn.Module]:
        """The stem, the residual blocks, the last join."""
        return [self.stem, *self.layers, self.join]

    def forward(self, batch: Tensor) -> Features:
        """(B, channels, length) → tokens (B, T, D), pooled (B, D)."""
        hidden = self.stem(self._spectrogram(batch) if self.front == "spectrogram" else batch)
        for layer in self.layers:
            hidden = layer(hidden)
        tokens = hidden.transpose(1, 2)
        return Features(tokens, self.join(torch.cat([tokens.mean(1), tokens.amax(1)], dim=1)))

    def _spectrogram(self, batch: Tensor) -> Tensor:
        """(B, C, T) → log magnitudes (B, C · bins, frames)."""
        flat = torch.stft(batch.flatten(0, 1), self.window, self.window // 4, window=self.hann, return_complex=True)
        return torch.log1p(1000 * flat.abs()).unflatten(0, batch.shape[:2]).flatten(1, 2)


class _Residual(nn.Module):
    """x + conv(GELU(norm(x))), (B, D, T) to the same."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.conv = nn.Conv1d(width, width, kernel_size=3, padding=dilation, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(nn.functional.gelu(self.norm(x)))
