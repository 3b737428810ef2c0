"""A glove with sixteen pressure taxels at 100 Hz."""

from __future__ import annotations

from torch import Tensor, nn

from pairalign import Encoder, Features, Signal, register_encoder
from pairalign.core.card import load_card


@register_encoder("glove")
class Glove(Encoder):
    """One second of pressure; tokens are moments, pooled their mean."""

    signal = Signal("series", (16, 100), unit="kPa", rate=100.0, axes=("taxel", "time"))
    card = load_card("pairalign_glove", "glove")

    def __init__(self, width: int = 128) -> None:
        super().__init__(width)
        self.net = nn.Conv1d(16, width, kernel_size=9, stride=4)

    def forward(self, batch: Tensor) -> Features:
        tokens = self.net(batch).transpose(1, 2)
        return Features(tokens, tokens.mean(1))
