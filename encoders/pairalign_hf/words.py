"""Captions as token numbers of one length, and which of them are padding.

Rules: a caption is plain text, so a spelt special token is none. Padding stands on the right, whatever side the
tokenizer's own is on: there it changes no position. It is not told by its number where that number also means a token
(many tokenizers pad with their end token, some have no padding token): then it is `BLANK`, which no token is, and the
model reads the tokenizer's padding token there, else its end token, else number 0, behind the mask.

Note:
    SigLIP was trained without a mask on captions padded to its last place, where it also pools.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer

from pairalign.core.caption import check_caption
from pairalign.core.errors import ConfigError, SignalError

BLANK = -1
LONGEST = 64
SEES_PADDING = ("siglip_text_model", "siglip2_text_model")


class Words:
    """Token numbers of captions for one text model.

    config: the text model's. tokenizer: `None` to number words by a hash of their letters. ending: the model pools at
    an end token, which hashed words then get.
    """

    def __init__(self, config: Any, tokenizer: Any | None, max_length: int | None, *, ending: bool = False) -> None:
        self.tokenizer, self.vocabulary = tokenizer, int(config.vocab_size)
        self.sees_padding = config.model_type in SEES_PADDING
        self.cut, self.length = _lengths(config, max_length, self.sees_padding)
        self.end = _end(config, tokenizer) if ending and config.model_type == "clip_text_model" else None
        pad = 0 if tokenizer is None else tokenizer.pad_token_id
        self.blank = 0 if pad == 0 and (tokenizer is None or _pads_only(tokenizer)) else BLANK
        known = [pad, getattr(tokenizer, "eos_token_id", None), 0]
        self.fill = next(number for number in known if number is not None and number < self.vocabulary)

    def number(self, raw: Any) -> Tensor:
        """A caption → token numbers (L,), cut or padded with `blank`."""
        numbers = self._numbers(check_caption(raw), self.cut)
        if not numbers:
            raise SignalError(f"caption {raw!r} holds no word that the tokenizer knows: give it some.")
        if max(numbers) >= self.vocabulary:
            raise SignalError(
                f"caption {raw!r} holds token {max(numbers)}, the model has {self.vocabulary}: name its own tokenizer."
            )
        return torch.tensor(numbers + [self.blank] * (self.length - len(numbers)))

    def seen(self, raw: Any) -> str:
        """The beginning of a caption that is not cut off."""
        text = check_caption(raw)
        if not self.overlong(text):
            return text
        if self.tokenizer is None:
            return " ".join(re.findall(r"\w+", text)[: self.cut - (self.end is not None)])
        if not self.tokenizer.is_fast:
            return str(self.tokenizer.decode(self._numbers(text, self.cut), skip_special_tokens=True))
        cut = {"truncation": True, "max_length": self.cut, "split_special_tokens": True}
        return text[: max(end for _, end in self.tokenizer(text, return_offsets_mapping=True, **cut)["offset_mapping"])]

    def overlong(self, raw: Any) -> int:
        """Tokens of a caption that are cut off."""
        return max(0, len(self._numbers(check_caption(raw), None)) - self.cut)

    def masked(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Numbers (B, L) for the model, and where they are a caption's own (B, L)."""
        mask = batch != self.blank
        return torch.where(mask, batch, self.fill), mask

    def _numbers(self, text: str, longest: int | None) -> list[int]:
        if self.tokenizer is not None:
            cut = {} if longest is None else {"truncation": True, "max_length": longest}
            found: list[int] = self.tokenizer(text, split_special_tokens=True, verbose=False, **cut)["input_ids"]
            return found
        ends = [] if self.end is None else [self.end]
        words = re.findall(r"\w+", text.lower())[: None if longest is None else longest - len(ends)]
        hashed = [1 + zlib.crc32(word.encode()) % (self.vocabulary - 1) for word in words]
        return [number if number not in ends else 1 for number in hashed] + (ends if hashed else [])


def load_tokenizer(name: str, revision: str | None) -> Any:
    """The tokenizer of a hub name or folder; raise `ConfigError` if there is none."""
    try:
        return AutoTokenizer.from_pretrained(name, revision=revision, local_files_only=Path(name).is_dir())
    except (OSError, ValueError) as error:
        raise ConfigError(f"the tokenizer of {name!r} cannot be loaded ({error}): name one with tokenizer=.") from error


def _lengths(config: Any, asked: int | None, sees_padding: bool) -> tuple[int, int]:
    """Tokens that a caption keeps, and those of a row."""
    places = getattr(config, "max_position_embeddings", None)
    if places is not None and config.model_type in ("roberta", "xlm-roberta", "camembert", "mpnet"):
        places -= int(config.pad_token_id) + 1  # theirs count from behind the padding token's number
    if asked is not None and (asked < 1 or (places is not None and asked > places)):
        most = "" if places is None else f" to {places}, as many as the model has places for"
        raise ConfigError(f"max_length={asked}: give a number of tokens from 1{most}.")
    cut = asked or min(LONGEST, places or LONGEST)
    return (cut, int(places)) if sees_padding and places else (cut, cut)


def _pads_only(tokenizer: Any) -> bool:
    """Whether the padding token's number means nothing else."""
    others = (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.unk_token_id, tokenizer.cls_token_id)
    return tokenizer.pad_token_id not in (*others, tokenizer.sep_token_id, tokenizer.mask_token_id)


def _end(config: Any, tokenizer: Any | None) -> int:
    """The token at which CLIP pools: its end token or, where the configuration names 2 as older ones do, the highest.

    Raise `ConfigError` where captions would not have it, so that all got the vector of their first token.
    """
    end = config.vocab_size - 1 if config.eos_token_id == 2 else config.eos_token_id
    if not isinstance(end, int) or not 0 <= end < config.vocab_size:
        raise ConfigError(f"config: eos_token_id={end!r} is none of {config.vocab_size} tokens, and CLIP pools there.")
    if tokenizer is not None and config.eos_token_id != 2 and end not in tokenizer("a")["input_ids"]:
        raise ConfigError(f"the tokenizer ends no caption with token {end}, where CLIP pools: name the model's own.")
    return end
