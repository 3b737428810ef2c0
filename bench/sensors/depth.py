import numpy as np
import torch
from torch import nn

from pairalign import Encoder, Features, Signal, register_encoder


@register_encoder("depth")
class Depth(Encoder):
    """A 16-bit depth image against its own median, in steps of 64 of a sensor that states no unit."""

    signal = Signal("image", (1, 80, 80), unit="1", axes=("channel", "height", "width"), range=(-2.0, 2.0))
    card = {"licence": "Apache-2.0", "preprocessing": "minus median, 64 steps to 1, 80 x 80", "sources": "none"}

    def __init__(self, width: int = 128):
        super().__init__(width)
        self.net = nn.Sequential(nn.Conv2d(1, 32, 5, 3), nn.GELU(), nn.Conv2d(32, width, 5, 3), nn.GELU())

    def preprocess(self, raw):
        depth = torch.from_numpy(np.asarray(raw, np.float32)).reshape(1, *np.shape(raw)[-2:])
        return nn.functional.adaptive_avg_pool2d(((depth - depth.median()) / 64).clamp(-2, 2), (80, 80))

    def forward(self, batch):
        tokens = self.net(batch).flatten(2).transpose(1, 2)
        return Features(tokens, tokens.mean(1))
