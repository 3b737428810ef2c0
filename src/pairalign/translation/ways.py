"""What turns latents of a modality into signals: its own decoder, or a pretrained decoder of a frozen tower's space.

A pretrained decoder is anything with one method:

    class Mine:
        def draw(self, embedding):        # (B, D), on the tower's own scale
            return [picture, ...]         # B of them, as the tower's encoder preprocesses them: PIL or (H, W, 3) bytes

Note:
    A pretrained decoder draws from one tower's space, so the target has to be that very tower, frozen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from pairalign.align.latents import AnchorHead, Latents
from pairalign.align.model import PairAligner
from pairalign.align.reconstruct import Decoder
from pairalign.core.errors import ConfigError
from pairalign.translation.gallery import Gallery
from pairalign.translation.looks import Look

WAYS = ("decoder", "retrieval")


@runtime_checkable
class Drawer(Protocol):
    """A pretrained decoder."""

    def draw(self, embedding: Tensor) -> Sequence[Any]:
        """Pictures of embeddings (B, D) of the target's frozen tower."""


class Drawn:
    """A batch of drawings: `value` (B, …) in the encoder's own numbers, and `pictures` where a pretrained decoder made
    them."""

    def __init__(self, value: Tensor, pictures: Sequence[Any] | None = None) -> None:
        self.value, self.pictures = value, pictures


class Way:
    """Draws a modality. name: "decoder", "retrieval" or "pretrained". look: what is seen of true samples beside it."""

    def __init__(self, aligner: PairAligner, modality: str, through: str | Drawer) -> None:
        self.aligner, self.modality, self.drawer = aligner, modality, None if isinstance(through, str) else through
        self.name = through if isinstance(through, str) else "pretrained"
        self.decoder = find_decoder(aligner, modality) if self.name == "decoder" else None
        if self.drawer is not None:
            check_anchor(aligner, modality)
        self.look = Look(aligner.encoder(modality), self.decoder, coarse=self.name == "decoder")

    @torch.no_grad()
    def draw(self, latents: Latents, gallery: Gallery) -> Drawn:
        """Signals of latents (B, …). gallery: true samples of the target."""
        place = next(self.aligner.parameters()).device
        moved = Latents(*(z.to(place) for z in latents))
        if self.decoder is not None:
            return Drawn(self.decoder(self.aligner.decoder_input(self.modality, moved)).float())
        assert self.drawer is not None
        embedding = anchor_embedding(self.aligner, self.modality, moved, gallery.pooled)
        pictures = list(self.drawer.draw(embedding))
        if len(pictures) != len(embedding):
            raise ConfigError(
                f"{type(self.drawer).__name__}.draw() gave {len(pictures)} pictures for {len(embedding)} embeddings: "
                "give one of each."
            )
        encoder = self.aligner.encoder(self.modality)
        return Drawn(torch.stack([encoder.preprocess(picture) for picture in pictures]).to(place), pictures)


def find_decoder(aligner: PairAligner, modality: str) -> Decoder:
    """The decoder that stage one trained; raise `ConfigError` where there is none that draws a signal."""
    if modality not in aligner.decoders:
        raise ConfigError(
            f"{modality!r} has no decoder in this run (loss.reconstruct={aligner.loss.reconstruct:g}, "
            f"reconstruct={aligner.encoder(modality).reconstruct!r}): use --through retrieval, or train with "
            "loss.reconstruct above 0 and an encoder that is not frozen."
        )
    decoder: Any = aligner.decoders[modality]
    if decoder.kind in ("tokens", "features"):
        what = "which words, in no order" if decoder.kind == "tokens" else "features of a frozen tower"
        raise ConfigError(
            f"the decoder of {modality!r} says {what}, and draws no signal: use --through retrieval"
            f"{', or a pretrained decoder of that tower.' if decoder.kind == 'features' else '.'}"
        )
    assert isinstance(decoder, Decoder)
    return decoder


def check_anchor(aligner: PairAligner, modality: str) -> None:
    """Raise `ConfigError` unless a modality is a frozen tower whose embedding can be told from its latents."""
    decoder: Any = dict(aligner.decoders.items()).get(modality)
    if not aligner.encoder(modality).frozen:
        raise ConfigError(
            f"{modality!r} was trained, so its space is not the one that a pretrained decoder draws from: align it "
            f"with modalities.{modality}.tune=none, or use --through decoder."
        )
    if not isinstance(aligner.heads[modality], AnchorHead) and getattr(decoder, "kind", None) != "features":
        raise ConfigError(
            f"nothing in this run tells the embedding of {modality!r} from its latents: train with "
            f"modalities.{modality}.head=anchor, or with loss.reconstruct above 0."
        )


def anchor_embedding(aligner: PairAligner, modality: str, latents: Latents, pooled: Tensor) -> Tensor:
    """Embeddings (B, D) of a frozen tower, told from latents; as long as its true ones (N, D) are on average."""
    head = aligner.heads[modality]
    if isinstance(head, AnchorHead):
        found = head.mean + latents.shared @ head.basis.T
    else:
        decoder: Any = aligner.decoders[modality]
        found = decoder(aligner.decoder_input(modality, latents))
    return torch.nn.functional.normalize(found.float(), dim=1) * pooled.norm(dim=1).mean().to(found)
