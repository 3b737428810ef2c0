"""The answer-bias probe: its sets of words, and what it reads along a model's own answers, against a slow oracle."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from stage_two import TOUCH, settings

from pairalign.core.errors import ConfigError
from pairalign.finetune.bias import NUMBER, own_mass, probe_tokens
from pairalign.finetune.config import ProbeConfig
from pairalign.finetune.prepare import Prepared, prepare


@pytest.fixture(scope="module")
def made(setup: Path) -> Prepared:
    validation = {"touch": {**TOUCH, "split": "val", "limit": 5}}
    train = {"steps": 1, "measure_batch_size": 3, "accelerator": "cpu"}
    return prepare(settings(setup, setup / "none", validation=validation, train=train), torch.device("cpu"))


def test_along_its_own_words_it_is_what_one_question_at_a_time_gives(made: Prepared) -> None:
    """Token by token without a cache: the set's mass up to the place of the end, of each question the mean."""
    asked, tokenizer = made.measured["validation"][0], made.processor.tokenizer
    vocabulary, tokens, found = probe_tokens(ProbeConfig(("hard", "soft")), (), tokenizer), 4, []
    for example in asked.task.read():
        inputs = asked.collate.prompts([example])
        mass = []
        for _ in range(tokens):
            with torch.no_grad():
                logits = made.model(**inputs).logits[0, -1]
            mass.append(float(logits.softmax(-1)[vocabulary].sum()))
            said = logits.argmax()
            if said == tokenizer.eos_token_id:
                break
            inputs["input_ids"] = torch.cat([inputs["input_ids"], said[None, None]], 1)
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        found.append(sum(mass) / len(mass))
    assert own_mass(made.model, asked, vocabulary, tokens) == pytest.approx(sum(found) / len(found), rel=1e-4)


def test_words_are_told_apart_from_answers_and_numbers(made: Prepared) -> None:
    tokenizer = made.processor.tokenizer
    words = probe_tokens(ProbeConfig(("hard", "soft")), ["rigid"], tokenizer)
    assert {tokenizer.decode([n]).strip() for n in words} == {"hard", "soft"}
    answers = probe_tokens(ProbeConfig(), ["rigid"], tokenizer)
    assert {tokenizer.decode([n]).strip() for n in answers} == {"rigid"}
    numbers = {tokenizer.decode([n]).strip() for n in probe_tokens(ProbeConfig("numbers"), (), tokenizer)}
    assert numbers
    assert all(NUMBER.fullmatch(word) for word in numbers)
    with pytest.raises(ConfigError, match="no token for any of them"):
        probe_tokens(ProbeConfig(("quux",)), (), tokenizer)


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("7", True),
        ("3.5", True),
        ("12th", True),
        ("Second", True),
        ("one", True),
        ("ones", False),
        ("a1", False),
        ("1,000", True),
        ("٣", False),
    ],
)
def test_what_is_a_number(text: str, counts: bool) -> None:
    assert bool(NUMBER.fullmatch(text)) == counts
