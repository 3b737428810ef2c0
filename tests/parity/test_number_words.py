"""Which tokens are numbers: ours beside what the program of arXiv:2510.08564 found in the same two vocabularies.

Only which tokens it took is here; docs/parity.md names the program and its commit.

Note:
    It lowers a token's letters before it takes the mark of a space away, so that the byte-level mark "Ġ" hides the
    number words behind it.
"""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, decoders
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from pairalign.finetune.bias import probe_tokens
from pairalign.finetune.config import ProbeConfig

DIGITS = ["0", "7", "42", "007", "1st", "22ND", "3rd", "3.5", "1,000"]  # theirs, plain and behind either mark
WORDS = ["one", "One", "ONE", "Three", "twenty", "million"]  # theirs, plain and behind "▁"
ORDINALS = ["first", "second"]  # ours alone
NEITHER = [
    ".5",
    "3.",
    "1.2.3",
    "1,00,0",
    "twentyone",
    "hundreds",
    "a1",
    "1a",
    "²",
    "½",
    "٣",
    "st",
    "-1",
    "+2",
    "1/2",
    "##9",
    "ten.",
    "IV",
]


def vocabulary(mark: str) -> PreTrainedTokenizerFast:
    tokens = [f"{before}{word}" for before in ("", mark) for word in (*DIGITS, *WORDS, *ORDINALS, *NEITHER)]
    model = BPE({word: n for n, word in enumerate(["<unk>", *tokens, "9", "x"])}, [], unk_token="<unk>")
    made = Tokenizer(model)
    made.decoder = decoders.ByteLevel() if mark == "Ġ" else decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>")


@pytest.mark.parametrize("mark", ["▁", "Ġ"])
def test_ours_are_theirs_and_words_that_theirs_misses(mark: str) -> None:
    tokenizer = vocabulary(mark)
    names = {n: token for token, n in tokenizer.get_vocab().items()}
    ours = {names[n] for n in probe_tokens(ProbeConfig("numbers"), (), tokenizer)}
    theirs = {"9", *DIGITS, *WORDS, *(mark + word for word in DIGITS)}
    behind = {mark + word for word in WORDS}
    theirs |= behind if mark == "▁" else set()
    assert theirs <= ours
    missed = {before + word for before in ("", mark) for word in ORDINALS} | behind
    assert ours - theirs == missed - theirs
