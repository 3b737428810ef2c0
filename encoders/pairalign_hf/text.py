"""A Hugging Face text backbone.

Where it bites: the batch is one tensor of token numbers; the mask is where they differ from the padding number, which
the tokenizer must therefore not use for anything else.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoTokenizer

from pairalign.core.card import load_card
from pairalign.core.encoder import Encoder
from pairalign.core.errors import ConfigError, SignalError
from pairalign.core.registry import register_encoder
from pairalign.core.types import Features, Signal
from pairalign_hf.backbone import check_pooling, layers_of, load_backbone, pool


@register_encoder("hf_text")
class HFText(Encoder):
    """Captions → word tokens and their pooled embedding.

    model: hub name or folder; config: of a model with random weights and hashed words instead. revision: of the hub.
    max_length: tokens of a caption. pooling: "mean", "cls", "last" or "pooler". templates: forms with `{}`; a training
    view fills a random one, evaluation uses the caption as it is. tokenizer: a folder or name of its own.
    """

    card = load_card("pairalign_hf", "hf_text")

    def __init__(
        self,
        model: str | None = None,
        config: dict[str, Any] | None = None,
        revision: str | None = None,
        max_length: int = 64,
        pooling: str = "mean",
        templates: Sequence[str] = (),
        tokenizer: str | None = None,
    ) -> None:
        if any(form.count("{}") != 1 for form in templates):
            raise ConfigError(f"templates={list(templates)!r}: each must hold {{}} exactly once.")
        backbone = load_backbone(model, config, revision, check_pooling(pooling))
        super().__init__(int(backbone.config.hidden_size))
        self.backbone, self.pooling, self.templates, self.length = backbone, pooling, tuple(templates), max_length
        self.restorable = model is not None
        self.words = self.vocabulary = int(backbone.config.vocab_size)
        name = tokenizer or model
        self.tokenizer = _load_tokenizer(name, revision) if name else None
        self.pad = 0 if self.tokenizer is None else int(self.tokenizer.pad_token_id)
        self.signal = Signal("text", (max_length,), dtype="int64", axes=("word",))

    def preprocess(self, raw: Any) -> Tensor:
        """A caption → token numbers (L,), cut or padded."""
        if not isinstance(raw, str) or not raw.strip():
            raise SignalError(f"caption {raw!r}: give a text that is not empty.")
        if self.tokenizer is None:
            words = re.findall(r"\w+", raw.lower())[: self.length]
            numbers = [1 + zlib.crc32(word.encode()) % (self.words - 1) for word in words]
        else:
            numbers = self.tokenizer(raw, truncation=True, max_length=self.length)["input_ids"]
        return torch.tensor(numbers + [self.pad] * (self.length - len(numbers)))

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
        mask = batch != self.pad
        out = self.backbone(input_ids=batch, attention_mask=mask.long())
        hidden = out.last_hidden_state
        return Features(hidden, pool(hidden, mask, self.pooling, getattr(out, "pooler_output", None)))


def _load_tokenizer(name: str, revision: str | None) -> Any:
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision, local_files_only=Path(name).is_dir())
    except (OSError, ValueError) as error:
        raise ConfigError(f"the tokenizer of {name!r} cannot be loaded ({error}): name one with tokenizer=.") from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token_id is None:
        raise ConfigError(f"the tokenizer of {name!r} has neither a padding nor an end token: name another.")
    return tokenizer
