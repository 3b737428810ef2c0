"""The text tower of an open_clip model.

Note:
    A tiny configuration has a vocabulary of 1,024 and hashes each word into it, so that no tokenizer file is needed and
    two rare words may share a number; a named model uses its own tokenizer.
"""

from __future__ import annotations

import re
import zlib
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import open_clip
import torch
from torch import Tensor, nn

from pairalign.core.caption import check_caption
from pairalign.core.card import load_card
from pairalign.core.encoder import Encoder
from pairalign.core.errors import ConfigError, SignalError
from pairalign.core.registry import register_encoder
from pairalign.core.types import Features, Signal
from pairalign_openclip.towers import load_model, restorable

SPECIAL = re.compile(r"<(start|end)_of_text>", re.IGNORECASE)


@register_encoder("openclip_text")
class OpenClipText(Encoder):
    """Captions → word tokens and the model's text embedding.

    model, pretrained, config: see `load_model`. templates: forms with `{}` for a caption; a training view fills a
    random one, evaluation uses the caption as it is.
    """

    card = load_card("pairalign_openclip", "openclip_text")
    tower: Any

    def __init__(
        self,
        model: str | None = None,
        pretrained: str | None = None,
        config: str | dict[str, Any] | None = None,
        templates: Sequence[str] = (),
    ) -> None:
        if any(form.count("{}") != 1 for form in templates):
            raise ConfigError(f"templates={list(templates)!r}: each must hold {{}} exactly once.")
        loaded = load_model(model, pretrained, config)
        tower: Any = loaded.text
        super().__init__(int(getattr(tower, "output_dim", 0) or tower.width))
        self.tower, self.templates = tower, tuple(templates)
        self.restorable = restorable(pretrained, model)
        self.length = int(getattr(tower, "context_length", 0) or loaded.context_length)
        self.vocabulary: int = int(tower.vocab_size)
        self.signal = Signal("text", (self.length,), dtype="int64", axes=("word",))
        self.tokenize: Callable[[str], Tensor] = self._hash
        self.count: Callable[[str], int] = _count_words
        if model is not None:
            tokenizer = open_clip.get_tokenizer(model)
            self.tokenize, self.count = partial(_tokenize, tokenizer), partial(_count, tokenizer)
        tower.output_tokens = True

    def preprocess(self, raw: Any) -> Tensor:
        """A caption → token numbers (L,), cut or padded as the model was trained."""
        text = check_caption(raw)
        if (spelt := SPECIAL.search(text)) is not None:  # open_clip's tokenizer would pool there
            raise SignalError(f"caption {raw!r} spells the token {spelt[0]!r}: write it in other words.")
        return self.tokenize(text).long()

    def seen(self, raw: Any) -> Any:
        """The longest beginning of a caption, in whole words, that is not cut off."""
        text = check_caption(raw)
        if not self.overlong(text):
            return text
        ends = [match.end() for match in re.finditer(r"\S+", text)]
        fits = bisect_left(ends, True, key=lambda end: self.overlong(text[:end]) > 0)
        return text[: ends[fits - 1]] if fits else text

    def overlong(self, raw: Any) -> int:
        """Tokens of a caption that are cut off."""
        return max(0, self.count(check_caption(raw)) - self.length)

    def view(self, raw: Any, generator: torch.Generator) -> Tensor:
        """The caption in a random template."""
        if not self.templates or not isinstance(raw, str):
            return self.preprocess(raw)
        pick = int(torch.randint(len(self.templates), (), generator=generator))
        return self.preprocess(self.templates[pick].replace("{}", raw))

    def blocks(self) -> Sequence[nn.Module]:
        """The transformer blocks."""
        return list(self.tower.transformer.resblocks)

    def forward(self, batch: Tensor) -> Features:
        """(B, L) → tokens (B, L, D), pooled (B, D)."""
        pooled, tokens = self.tower(batch)
        projection = getattr(self.tower, "text_projection", None)
        if isinstance(projection, nn.Linear):
            tokens = projection(tokens)
        elif projection is not None:
            tokens = tokens @ projection
        return Features(tokens, pooled)

    def _hash(self, text: str) -> Tensor:
        """Words by a hash of their letters; the last number marks the end, where the tower pools."""
        words = re.findall(r"\w+", text.lower())[: self.length - 1]
        numbers = [1 + zlib.crc32(word.encode()) % (self.vocabulary - 2) for word in words] + [self.vocabulary - 1]
        return torch.tensor(numbers + [0] * (self.length - len(numbers)))


def _tokenize(tokenizer: Any, text: str) -> Tensor:
    numbers: Tensor = tokenizer([text])[0]
    return numbers


def _count_words(text: str) -> int:
    return len(re.findall(r"\w+", text)) + 1


def _count(tokenizer: Any, text: str) -> int:
    """Tokens of a text, start and end with them, before it is cut."""
    if hasattr(tokenizer, "encode"):
        return len(tokenizer.encode(text)) + 2
    return len(tokenizer.tokenizer(tokenizer.clean_fn(text), verbose=False)["input_ids"])
