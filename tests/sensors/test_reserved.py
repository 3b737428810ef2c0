"""Texts that spell what a base reads as a picture, a sensor or an end are refused by name, never a second picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from sensing import speaking

from pairalign.core.errors import ConfigError, DataError
from pairalign.demo.base import build_base, build_processor
from pairalign.finetune.collator import Collator
from pairalign.finetune.tasks import Example
from pairalign.sensors.answer import answer, answer_all
from pairalign.sensors.processor import SensorProcessor, load_base
from pairalign.sensors.reserved import reserved_words, spelt_in

GEL = Image.new("RGB", (16, 16), "grey")
SPELT = ["<image>", "<|touch|>", "</s>", "<unk>"]


def asked(text: str) -> Example:
    return Example("k7", "grip", [{"type": "touch", "touch": GEL}, {"type": "text", "text": text}], "yes")


@pytest.mark.parametrize("word", SPELT)
def test_a_question_that_spells_a_reserved_word_is_refused_by_name(word: str) -> None:
    model, processor = speaking()
    with pytest.raises(DataError, match=rf"question: 'what does {word} mean'.* spells ".replace("|", r"\|")):
        answer(model, processor, f"what does {word} mean", signals={"touch": [GEL]}, tokens=1)
    with pytest.raises(DataError, match=rf"grip, sample 'k7': its question: .*spells '{word}'".replace("|", r"\|")):
        Collator(processor)([asked(f"what does {word} mean")])


@pytest.mark.parametrize("text", ["what does { touch } mean", "a <picture> of it", "{image", "<img>", "< image >"])
def test_what_only_looks_like_one_is_plain_text(text: str) -> None:
    model, processor = speaking()
    answer(model, processor, text, signals={"touch": [GEL]}, tokens=1)
    batch = Collator(processor)([asked(text)])
    length = model.sensors["touch"].length
    assert int((batch.inputs["input_ids"] == processor.placeholders["touch"]).sum()) == length
    assert "pixel_values" not in batch.inputs


def test_a_lone_surrogate_is_refused_by_name() -> None:
    model, processor = speaking()
    with pytest.raises(DataError, match="lone surrogate"):
        answer(model, processor, "is it \ud83d soft", signals={"touch": [GEL]})
    with pytest.raises(DataError, match=r"sample 'k7': its question: .*lone surrogate"):
        Collator(processor)([asked("is it \ud83d soft")])


def test_reserved_are_special_tokens_picture_tokens_and_placeholders() -> None:
    class Processor:
        """Whose template writes a token that its tokenizer does not call special, as Gemma 3's."""

        tokenizer = build_processor().tokenizer
        boi_token = "<start_of_image>"

    assert "<start_of_image>" in reserved_words(Processor())
    _, processor = speaking()
    assert {"<image>", "<|touch|>", "<s>", "</s>", "<pad>", "<unk>"} == processor.reserved
    processor.remove("touch")
    assert "<|touch|>" in processor.reserved
    assert spelt_in("a <s> and <start_of_image>", ["<start_of_image>", "<s>"]) == "<s>"
    assert spelt_in("<|im_end|>", ["<|im", "<|im_end|>"]) == "<|im_end|>"
    assert spelt_in("plain", ["<s>"]) is None


def stored(folder: Path, change: Any, *, ends: bool = True) -> tuple[Any, Any]:
    torch.manual_seed(0)
    base, processor = build_base(width=32, layers=1, vision_layers=1), build_processor()
    if not ends:
        base.generation_config.eos_token_id = base.config.text_config.eos_token_id = None
    change(processor)
    base.save_pretrained(folder)
    processor.save_pretrained(folder)
    return load_base(str(folder))


def no_padding(processor: Any) -> None:
    processor.tokenizer.pad_token = None


def no_end(processor: Any) -> None:
    processor.tokenizer.eos_token = None


def neither(processor: Any) -> None:
    no_padding(processor)
    no_end(processor)


def no_template(processor: Any) -> None:
    processor.chat_template = processor.tokenizer.chat_template = None


@pytest.mark.parametrize("change", [no_padding, no_end, neither])
def test_a_base_without_padding_or_end_token_pads_and_ends_all_the_same(tmp_path: Path, change: Any) -> None:
    _, own = stored(tmp_path, change)
    before = len(own.tokenizer)
    processor = SensorProcessor(own, {})
    plain = [
        Example(f"k{n}", "grip", [{"type": "text", "text": t}], "yes") for n, t in enumerate(["soft", "is it soft"])
    ]
    batch = Collator(processor)(plain)
    whole = Collator(SensorProcessor(build_processor(), {}))(plain)
    seen = batch.inputs["attention_mask"].bool()
    assert seen.equal(whole.inputs["attention_mask"].bool())
    assert batch.inputs["input_ids"][seen].equal(whole.inputs["input_ids"][seen])
    assert batch.labels.equal(whole.labels)
    assert len(processor.tokenizer) == before
    if change is no_padding:
        assert own.tokenizer.pad_token is None
        assert processor.tokenizer.pad_token == "</s>"


def test_a_base_without_any_end_token_is_refused_by_name(tmp_path: Path) -> None:
    _, own = stored(tmp_path, neither, ends=False)
    processor = SensorProcessor(own, {})
    assert processor.tokenizer.pad_token == "<pad>"  # number 0
    with pytest.raises(ConfigError, match="has no end token, neither in its tokenizer nor in its generation config"):
        Collator(processor)


def test_a_base_without_a_chat_template_is_refused_by_name(tmp_path: Path) -> None:
    _, own = stored(tmp_path, no_template)
    processor = SensorProcessor(own, {})
    for ask in (lambda: Collator(processor), lambda: processor.apply_chat_template([{"role": "user", "content": "x"}])):
        with pytest.raises(ConfigError, match="has no chat template"):
            ask()


def test_an_answer_ends_at_the_token_that_it_is_taught_to_end_with(monkeypatch: pytest.MonkeyPatch) -> None:
    model, processor = speaking()
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(model, "generate", lambda **of: seen.append(of) or of["input_ids"])
    inputs = processor(["user: soft assistant:"])
    end = processor.tokenizer.eos_token_id
    for own in (None, end + 1, [end + 1, end]):
        model.llm.generation_config.eos_token_id = own
        answer_all(model, processor, inputs, 2)
    assert [of.get("eos_token_id") for of in seen] == [[end], [end + 1, end], None]
