import torch
from torch import nn

from pairalign import Encoder, Features, Signal, register_encoder


@register_encoder("impact_sound")
class ImpactSound(Encoder):
    """One second of sound: a log spectrogram, and convolutions over time."""

    signal = Signal("series", (1, 22050), unit="1", rate=22050.0, axes=("channel", "time"), range=(-1.0, 1.0))
    card = {"licence": "Apache-2.0", "preprocessing": "none, mono at 22.05 kHz", "sources": "none"}

    def __init__(self, width: int = 128):
        super().__init__(width)
        self.net = nn.Sequential(nn.Conv1d(129, width, 5, 2), nn.GELU(), nn.Conv1d(width, width, 5, 2))
        self.register_buffer("window", torch.hann_window(256), persistent=False)

    def preprocess(self, raw):
        return torch.as_tensor(raw).reshape(1, -1)

    def forward(self, batch):
        spectrum = torch.stft(batch[:, 0], 256, 128, window=self.window, return_complex=True).abs()
        tokens = self.net(torch.log(spectrum + 1e-4)).transpose(1, 2)
        return Features(tokens, tokens.mean(1))
