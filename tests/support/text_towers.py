"""Tiny text models with a tokenizer of whole words, in folders as Hugging Face writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModel, PreTrainedConfig, PreTrainedTokenizerFast

WORDS = ["<first>", "<pad>", "<unk>", "a", "soft", "red", "mug", "ball", "cloth", "hard", "<start>", "<end>"]
START, END, LENGTH = WORDS.index("<start>"), WORDS.index("<end>"), 12
SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": len(WORDS),
    "max_position_embeddings": LENGTH,
    "bos_token_id": START,
    "eos_token_id": END,
}


def write(
    folder: Path, config: PreTrainedConfig, pad: str | None, *, marks: bool = True, side: str = "right", **more: Any
) -> tuple[Any, Any]:
    """A model and its tokenizer in a folder. marks: captions begin and end with a token of their own."""
    torch.manual_seed(0)
    model = AutoModel.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
    model.save_pretrained(folder)
    core = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    if marks:
        core.post_processor = processors.TemplateProcessing(
            single="<start> $A <end>", special_tokens=[("<start>", START), ("<end>", END)]
        )
    named = {"unk_token": "<unk>", "bos_token": "<start>", "eos_token": "<end>", **more}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token=pad, padding_side=side, **named)
    tokenizer.save_pretrained(folder)
    return model, tokenizer
