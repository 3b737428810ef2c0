"""A sensor of a language model: its encoder and head from stage one, and the bridge into the language model.

The encoder is frozen, or trains with the bridge (`tune`); the head stays what stage one made of it.

Note:
    Encoder and head stay in evaluation mode whatever the model around them is told, so that a signal has one value;
    with a frozen encoder it is encoded once, with one that trains at every step.
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
from pairalign.core.config import LatentConfig, Strict, Tune
from pairalign.core.earlier import earlier
from pairalign.core.encoder import Encoder
from pairalign.core.errors import ConfigError
from pairalign.core.registry import create_encoder
from pairalign.sensors.bridges.bridge import SensorFeatures
from pairalign.sensors.bridges.recomposition import Recomposition
from pairalign.sensors.bridges.registry import BridgeSizes, create_bridge


@dataclass(frozen=True)
class SensorRecipe(Strict):
    """What a sensor is built from, weights aside: registered `encoder` and its `options`, sizes of its latents, `head`
    as in `ModalityConfig`, kind of `bridge` and its `tokens`, or the `sizes` of a recomposition.
    """

    encoder: str
    options: dict[str, Any] = field(default_factory=dict)
    latent: LatentConfig = field(default_factory=LatentConfig)
    head: Annotated[int | Literal["anchor"] | None, Within(0, LARGEST, whole=True)] = None
    bridge: str = "mlp"
    tokens: int = 8
    sizes: dict[str, list[int]] = field(default_factory=dict)


class Sensor(nn.Module):
    """Signals (B, …), or what stage one made of them, → vectors (B, length, H)."""

    def __init__(
        self,
        encoder: Encoder,
        head: nn.Module,
        bridge: nn.Module,
        recipe: SensorRecipe | None = None,
        tune: Tune = "none",
    ) -> None:
        """`bridge`: a `Bridge`, or any module with its `length` and its call. recipe: what a sensor pack needs. tune:
        what of the encoder trains, nothing, its last block or all; raise `ConfigError` if that holds no weight."""
        super().__init__()
        self.encoder, self.head, self.bridge, self.recipe = encoder, head, bridge, recipe
        self.encoder.requires_grad_(False)
        self.head.requires_grad_(False)
        if tune != "none":
            self.encoder.tune("all" if tune == "all" else 1)
            if self.encoder.frozen:
                what = "it" if tune == "all" else "its last block"
                raise ConfigError(f"tune={tune!r}: of encoder {type(encoder).__name__} {what} has no weights.")
        self.changed = {f"encoder.{n}" for n, p in encoder.named_parameters() if p.requires_grad}
        """The encoder's weights that are not stage one's, or will not be."""

    @property
    def tuned(self) -> bool:
        """Whether something of the encoder trains."""
        return not self.encoder.frozen

    @property
    def length(self) -> int:
        """Vectors that one signal takes in a prompt."""
        return int(self.bridge.length)  # type: ignore[arg-type]

    def perceive(self, signals: Tensor | Sequence[Tensor]) -> SensorFeatures:
        """What encoder and head make of a batch of preprocessed signals; without a graph if nothing of them trains."""
        batch = self.encoder.collate(list(signals)) if isinstance(signals, Sequence) else signals
        device = next((t.device for t in self.state_dict().values()), None)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.tuned):
            features = self.encoder(batch if device is None else batch.to(device))
            latents: Latents = self.head(features.pooled)
        return SensorFeatures(features.tokens, latents.shared, latents.private)

    def forward(self, signals: SensorFeatures | Tensor | Sequence[Tensor]) -> Tensor:
        """(B, length, H)."""
        vectors: Tensor = self.bridge(signals if isinstance(signals, SensorFeatures) else self.perceive(signals))
        return vectors

    def train(self, mode: bool = True) -> Sensor:
        """Only the bridge is ever in training mode."""
        super().train(mode)
        self.encoder.eval()
        self.head.eval()
        return self


def build_sensor(recipe: SensorRecipe, model: nn.Module) -> Sensor:
    """A sensor on the model's device, its weights yet to be loaded; raise `RegistryError` for an unknown encoder."""
    encoder, device = create_encoder(recipe.encoder, **recipe.options), embedding_of(model).weight.device
    encoder.requires_grad_(False)
    head = build_head(encoder, recipe.latent, recipe.head, recipe.encoder)
    encoder, head = encoder.to(device), head.to(device)
    bridge: nn.Module
    if recipe.bridge == "recomposition":
        bridge = Recomposition.empty(model, recipe.sizes)
    else:
        bridge = build_bridge(encoder, head, model, recipe.bridge, recipe.tokens)
    return Sensor(encoder, head, bridge, recipe).eval()


def build_bridge(encoder: Encoder, head: nn.Module, model: nn.Module, kind: str, tokens: int) -> nn.Module:
    """A bridge from an aligned sensor into a model; sizes are read off both."""
    weight = embedding_of(model).weight.detach()
    device = next((t.device for t in head.state_dict().values()), weight.device)
    latents = head(torch.zeros(2, encoder.width, device=device))
    widths = (encoder.width, latents.shared.shape[1], latents.private.shape[1])
    size = float(weight.float().square().mean().sqrt())
    return create_bridge(kind, BridgeSizes(*widths, weight.shape[1], tokens, size))


@torch.no_grad()
def count_tokens(encoder: Encoder) -> int:
    """How many tokens an encoder makes of one signal; raise `ConfigError` where that depends on the signal."""
    signal, device = encoder.signal, next((t.device for t in encoder.state_dict().values()), None)
    sizes = [size for size in signal.shape if size is not None]
    if len(sizes) < len(signal.shape):
        raise ConfigError(
            f"tokens='all': encoder {type(encoder).__name__} reads signals of any size, {signal.shape}, and "
            "a prompt has as many places for each: give a number."
        )
    value = torch.full(sizes, signal.range[0] if signal.range else 0).to(getattr(torch, signal.dtype))
    batch = encoder.eval().collate([value])
    return int(encoder(batch if device is None else batch.to(device)).tokens.shape[1])


def embedding_of(model: nn.Module) -> Any:
    """The model's input embedding layer."""
    return model.get_input_embeddings()  # type: ignore[operator]


Sense = Sensor  # earlier name
SenseRecipe = SensorRecipe  # earlier name
build_sense = earlier(build_sensor, "build_sense")  # earlier name
