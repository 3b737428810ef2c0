"""A sense: a sensor's encoder and head from stage one, frozen, and the bridge into the language model.

Where it bites: encoder and head stay in evaluation mode whatever the model around them is told, so that a signal has
one value and can be encoded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from pairalign.align.latents import Latents
from pairalign.align.model import build_head
from pairalign.core.bounds import LARGEST, Within
from pairalign.core.config import LatentConfig, Strict
from pairalign.core.encoder import Encoder
from pairalign.core.registry import create_encoder
from pairalign.sensors.bridges.bridge import Bridge, Sensed
from pairalign.sensors.bridges.recomposition import Recomposition


@dataclass(frozen=True)
class SenseRecipe(Strict):
    """What a sense is built from, weights aside: registered `encoder` and its `options`, sizes of its latents, `head`
    as in `ModalityConfig`, kind of `bridge` and its `tokens`, or the `sizes` of a recomposition.
    """

    encoder: str
    options: dict[str, Any] = field(default_factory=dict)
    latent: LatentConfig = field(default_factory=LatentConfig)
    head: Annotated[int | Literal["anchor"] | None, Within(0, LARGEST, whole=True)] = None
    bridge: str = "mlp"
    tokens: int = 8
    sizes: dict[str, list[int]] = field(default_factory=dict)


class Sense(nn.Module):
    """Signals (B, …), or what stage one made of them, → vectors (B, length, H)."""

    def __init__(self, encoder: Encoder, head: nn.Module, bridge: nn.Module, recipe: SenseRecipe | None = None) -> None:
        """`bridge`: a `Bridge`, or any module with its `length` and its call. recipe: what a sensor pack needs."""
        super().__init__()
        self.encoder, self.head, self.bridge, self.recipe = encoder, head, bridge, recipe
        self.encoder.requires_grad_(False)
        self.head.requires_grad_(False)

    @property
    def length(self) -> int:
        """Vectors that one signal takes in a prompt."""
        return int(self.bridge.length)  # type: ignore[arg-type]

    @torch.no_grad()
    def perceive(self, signals: Tensor | Sequence[Tensor]) -> Sensed:
        """What stage one knows of a batch of preprocessed signals."""
        batch = self.encoder.collate(list(signals)) if isinstance(signals, Sequence) else signals
        device = next((t.device for t in self.state_dict().values()), None)
        features = self.encoder(batch if device is None else batch.to(device))
        latents: Latents = self.head(features.pooled)
        return Sensed(features.tokens, latents.shared, latents.private)

    def forward(self, signals: Sensed | Tensor | Sequence[Tensor]) -> Tensor:
        """(B, length, H)."""
        vectors: Tensor = self.bridge(signals if isinstance(signals, Sensed) else self.perceive(signals))
        return vectors

    def train(self, mode: bool = True) -> Sense:
        """Only the bridge ever trains."""
        super().train(mode)
        self.encoder.eval()
        self.head.eval()
        return self


def build_sense(recipe: SenseRecipe, model: nn.Module) -> Sense:
    """A sense on the model's device, its weights yet to be loaded; raise `RegistryError` for an unknown encoder."""
    encoder, device = create_encoder(recipe.encoder, **recipe.options), embedding_of(model).weight.device
    encoder.requires_grad_(False)
    head = build_head(encoder, recipe.latent, recipe.head, recipe.encoder)
    encoder, head = encoder.to(device), head.to(device)
    bridge: nn.Module
    if recipe.bridge == "recomposition":
        bridge = Recomposition.empty(model, recipe.sizes)
    else:
        bridge = build_bridge(encoder, head, model, recipe.bridge, recipe.tokens)
    return Sense(encoder, head, bridge, recipe).eval()


def build_bridge(encoder: Encoder, head: nn.Module, model: nn.Module, kind: str, tokens: int) -> Bridge:
    """A bridge from an aligned sensor into a model; sizes are read off both."""
    weight = embedding_of(model).weight.detach()
    device = next((t.device for t in head.state_dict().values()), weight.device)
    latents = head(torch.zeros(2, encoder.width, device=device))
    widths = (encoder.width, latents.shared.shape[1], latents.private.shape[1])
    return Bridge(widths, weight.shape[1], kind, tokens, float(weight.float().square().mean().sqrt()))


def embedding_of(model: nn.Module) -> Any:
    """The model's input embedding layer."""
    return model.get_input_embeddings()  # type: ignore[operator]
