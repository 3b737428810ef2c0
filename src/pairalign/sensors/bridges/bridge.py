"""Bridges: what a sensor's encoder and latents say → a few vectors of the language model's embedding size.

Every kind gets the encoder's tokens, the shared latent and the private one, because what no pair could align, such
as a touch's hardness, lives in the private part. Sources: linear and MLP as in LLaVA (arXiv:2304.08485, 2310.03744);
the resampler as in Flamingo (arXiv:2204.14198).

Note:
    Vectors leave with the size of the model's own embeddings, or a frozen model drowns in them.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pairalign.core.errors import ConfigError, did_you_mean

Kind = Literal["linear", "mlp", "resampler"]


class SensorFeatures(NamedTuple):
    """What stage one knows of B signals: `tokens` (B, T, D), `shared` (B, d_s), `private` (B, d_p)."""

    tokens: Tensor
    shared: Tensor
    private: Tensor

    def at(self, index: Tensor) -> SensorFeatures:
        """Some of the signals, in the order of `index`."""
        return SensorFeatures(*(part[index] for part in self))


class Bridge(nn.Module):
    """`SensorFeatures` → (B, length, H).

    kind: "linear", "mlp" (a hidden layer of H), or "resampler" (learned queries attend to everything). tokens: vectors
    a signal takes beside one for each latent; the encoder's are averaged in that many groups, in order; 0 for the
    latents alone. For a resampler, its queries. size: root mean square of an entry of the model's embeddings.
    """

    def __init__(self, widths: tuple[int, int, int], hidden: int, kind: str, tokens: int, size: float) -> None:
        """`widths`: D, d_s, d_p. `hidden`: H."""
        super().__init__()
        if kind not in get_args(Kind):
            raise ConfigError(f"bridge={kind!r}.{did_you_mean(kind, get_args(Kind))}")
        if tokens < (1 if kind == "resampler" else 0):
            raise ConfigError(f"tokens={tokens}: a {kind} bridge needs at least {int(kind == 'resampler')}.")
        self.tokens = tokens
        used = [width for width in (widths[1], widths[2]) if width] + ([widths[0]] if tokens else [])
        self.private = widths[2] > 0
        self.length = tokens if kind == "resampler" else tokens + 1 + self.private
        self.maps = nn.ModuleList(_map(width, hidden, deep=kind != "linear") for width in used)
        self.resampler = Resampler(hidden, tokens) if kind == "resampler" else None
        self.norm = nn.RMSNorm(hidden)
        nn.init.constant_(self.norm.weight, size)

    def forward(self, sensed: SensorFeatures) -> Tensor:
        """(B, length, H)."""
        latents = [sensed.shared, sensed.private] if self.private else [sensed.shared]
        sources = [part.unsqueeze(1) for part in latents]
        if self.tokens:
            tokens = sensed.tokens
            if self.resampler is None:
                tokens = F.adaptive_avg_pool1d(tokens.mT, self.tokens).mT
            sources.append(tokens)
        vectors = torch.cat([m(source.float()) for m, source in zip(self.maps, sources, strict=True)], 1)
        if self.resampler is not None:
            vectors = self.resampler(vectors)
        out: Tensor = self.norm(vectors)
        return out


class Resampler(nn.Module):
    """Learned queries read a sequence by cross-attention, twice: (B, T, H) → (B, queries, H)."""

    def __init__(self, width: int, queries: int, layers: int = 2) -> None:
        super().__init__()
        heads = max(1, width // 64)
        while width % heads:
            heads -= 1
        self.queries = nn.Parameter(torch.randn(queries, width) * width**-0.5)
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(width, heads, 2 * width, 0.0, F.gelu, batch_first=True, norm_first=True)
            for _ in range(layers)
        )

    def forward(self, sequence: Tensor) -> Tensor:
        """(B, T, H) → (B, queries, H)."""
        vectors = self.queries.expand(len(sequence), -1, -1)
        for layer in self.layers:
            vectors = layer(vectors, sequence)
        return vectors


def _map(width: int, hidden: int, *, deep: bool) -> nn.Module:
    layers = [nn.LayerNorm(width), nn.Linear(width, hidden)]
    return nn.Sequential(*layers, nn.GELU(), nn.Linear(hidden, hidden)) if deep else nn.Sequential(*layers)


Sensed = SensorFeatures  # earlier name
