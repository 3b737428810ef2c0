"""A sample as Splash's data set and collator write it, and as ours do, on a tokenizer of a few words.

The authors' program gave the words and labels below for the same conversation, chat template and picture (see
docs/parity.md); none of its code is here.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from pairalign.finetune.collator import IGNORED, Collator
from pairalign.finetune.tasks import Example
from pairalign.sensors.processor import SensorProcessor

SPECIAL = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
WORDS = ("\n", "system", "user", "assistant", "You", "are", "a", "helpful", "assistant.", "how", "soft", "is", "it")
WORDS += ("very", "rough", "hard")
TEMPLATE = """{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system
You are a helpful assistant.<|im_end|>
{% endif %}<|im_start|>{{ message['role'] }}
{% for content in message['content'] %}{% if content['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>\
{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
TOUCH = 196
THEIRS = (
    "<|im_start|> system \n You are a helpful assistant. <|im_end|> \n <|im_start|> user \n START {touch} END "
    "<|vision_start|> <|image_pad|> <|image_pad|> <|image_pad|> <|image_pad|> <|vision_end|> {question} <|im_end|> \n "
    "<|im_start|> assistant \n {answer} <|im_end|> \n"
)
TALKS = [("how soft is it", "very rough"), ("is it hard", "very very hard")]


@pytest.fixture(scope="module")
def processor() -> Any:
    from transformers import PreTrainedTokenizerFast, Qwen2_5_VLProcessor, Qwen2VLImageProcessor
    from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

    names = {word: number for number, word in enumerate([*SPECIAL, "<|endoftext|>", "<unk>", *WORDS])}
    words = Tokenizer(models.WordLevel(names, unk_token="<unk>"))
    split = [pre_tokenizers.Split(Regex(r"\n"), "isolated"), pre_tokenizers.Split(Regex(r" +"), "removed")]
    words.pre_tokenizer = pre_tokenizers.Sequence(split)  # type: ignore[assignment]
    told = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, additional_special_tokens=list(SPECIAL), **told)
    pictures = Qwen2VLImageProcessor(min_pixels=56 * 56, max_pixels=56 * 56)
    made = Qwen2_5_VLProcessor(pictures, tokenizer, Qwen2VLVideoProcessor(), chat_template=TEMPLATE)
    return SensorProcessor(made, {})


def reading() -> Any:
    """A sensor of 196 vectors, whatever it reads."""
    signal = SimpleNamespace(check=lambda value, where: None)
    encoder = SimpleNamespace(signal=signal, preprocess=lambda raw: torch.zeros(1), collate=torch.stack)
    return SimpleNamespace(length=TOUCH, encoder=encoder, tuned=True)


def test_words_and_labels_are_theirs_but_for_three_tokens(processor: SensorProcessor) -> None:
    """They mark where the touch begins and ends, and teach the line break that the template writes behind the end."""
    touch = processor.add("touch", reading())
    picture = Image.new("RGB", (56, 56), (9, 80, 200))
    examples = [
        Example(f"{n}", "it", [{"type": "touch", "touch": 0}, {"type": "image", "image": picture},
                               {"type": "text", "text": question}], answer)
        for n, (question, answer) in enumerate(TALKS)
    ]  # fmt: skip
    batch, tokenizer = Collator(processor)(examples), processor.tokenizer
    rows = zip(TALKS, batch.inputs["input_ids"], batch.inputs["attention_mask"], batch.labels, strict=True)
    for (question, answer), ids, mask, labels in rows:
        ours = ["T" if i == touch else tokenizer.convert_ids_to_tokens(i) for i in ids[mask.bool()].tolist()]
        theirs = THEIRS.format(touch=" ".join(["T"] * TOUCH), question=question, answer=answer).split(" ")
        assert ours == [word for word in theirs if word not in ("START", "END")][:-1]
        taught = [tokenizer.convert_ids_to_tokens(i) for i in labels[labels != IGNORED].tolist()]
        assert [*taught, "\n"] == [*answer.split(), "<|im_end|>", "\n"]
