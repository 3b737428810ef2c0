"""A Hugging Face text backbone.

Note:
    The batch is one tensor of token numbers; what of it is padding, and what the model reads there, is
    `pairalign_hf.words`'. A model that reads from left to right knows nothing at its first token: pool "last" there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pairalign.core.card import load_card
from pairalign.core.encoder import Encoder
from pairalign.core.errors import ConfigError
from pairalign.core.registry import register_encoder
from pairalign.core.types import Features, Signal
from pairalign_hf.backbone import (
    check_pooling,
    layers_of,
    load_backbone,
    pick_tower,
    pool,
    project,
    tower_config,
    tower_width,
)
from pairalign_hf.words import Words, load_tokenizer


@register_encoder("hf_text")
class HFText(Encoder):
    """Captions → word tokens and their pooled embedding.

    model: hub name or folder, of a text model, the encoder of a T5-like, or one of two towers; config: of a model with
    random weights and hashed words instead. revision: of the hub. max_length: tokens of a caption, the rest is cut; by
    default 64, or as many as the model has places for. pooling: "mean" over a caption's own tokens, "cls" its first,
    "last" its last (of a model that reads from left to right), "pooler" the model's own (CLIP's at the end token,
    SigLIP's at the last place), or "projected": what `get_text_features` of a model with two towers gives. templates:
    forms with `{}`; a training view fills a random one, evaluation uses the caption as it is. tokenizer: a folder or
    name of its own.
    """

    card = load_card("pairalign_hf", "hf_text")

    def __init__(
        self,
        model: str | None = None,
        config: dict[str, Any] | None = None,
        revision: str | None = None,
        max_length: int | None = None,
        pooling: str = "mean",
        templates: Sequence[str] = (),
        tokenizer: str | None = None,
    ) -> None:
        if any(form.count("{}") != 1 for form in templates):
            raise ConfigError(f"templates={list(templates)!r}: each must hold {{}} exactly once.")
        check_pooling(pooling)
        backbone = pick_tower(load_backbone(model, config, revision), pooling, "text")
        super().__init__(tower_width(backbone, "text"))
        self.backbone, self.pooling, self.templates = backbone, pooling, tuple(templates)
        self.restorable = model is not None
        name = tokenizer or model
        ending = pooling in ("pooler", "projected")
        self.words = Words(
            tower_config(backbone, "text"), load_tokenizer(name, revision) if name else None, max_length, ending=ending
        )
        self.vocabulary = self.words.vocabulary
        self.signal = Signal("text", (self.words.length,), dtype="int64", axes=("word",))
        if pooling == "cls":
            self._check_first()

    def preprocess(self, raw: Any) -> Tensor:
        """A caption → token numbers (L,), cut or padded."""
        return self.words.number(raw)

    def seen(self, raw: Any) -> Any:
        """The beginning of a caption that is not cut off."""
        return self.words.seen(raw)

    def overlong(self, raw: Any) -> int:
        """Tokens of a caption that are cut off."""
        return self.words.overlong(raw)

    def view(self, raw: Any, generator: torch.Generator) -> Tensor:
        """The caption in a random template."""
        if not self.templates or not isinstance(raw, str):
            return self.preprocess(raw)
        pick = int(torch.randint(len(self.templates), (), generator=generator))
        return self.preprocess(self.templates[pick].replace("{}", raw))

    def blocks(self) -> Sequence[nn.Module]:
        """The transformer layers."""
        return layers_of(self.backbone)

    def forward(self, batch: Tensor) -> Features:
        """(B, L) → tokens (B, L, D), pooled (B, D)."""
        numbers, mask = self.words.masked(batch)
        seen = torch.ones_like(mask) if self.words.sees_padding else mask
        given = {"input_ids": numbers, "attention_mask": seen.long()}
        if self.pooling == "projected":
            return Features(*project(self.backbone.get_text_features(**given), self.backbone, "text"))
        out = self.backbone(**given)
        hidden = out.last_hidden_state
        return Features(hidden, pool(hidden, mask, self.pooling, getattr(out, "pooler_output", None)))

    @torch.no_grad()
    def _check_first(self) -> None:
        """Raise `ConfigError` where the first token does not see the others: it would be the same in every caption."""
        trains = self.backbone.training
        first = self.backbone.eval()(input_ids=torch.tensor([[0, 0], [0, 1]])).last_hidden_state[:, 0]
        self.backbone.train(trains)
        if torch.equal(first[0], first[1]):
            raise ConfigError(
                "pooling='cls': this model reads from left to right, so the first token of every caption gives the "
                "same vector: give 'last', 'mean' or 'pooler'."
            )
