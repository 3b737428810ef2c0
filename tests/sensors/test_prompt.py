"""What a person writes around fields reaches the tokenizer, whatever the template does with blanks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sensing import speaking

from pairalign.sensors.answer import ask_model
from pairalign.sensors.processor import SensorProcessor
from pairalign.sensors.prompt import message_parts, split_prompt

ROBOT = "Here is {touch} from a robot. Is it soft?"
TRIMS = (
    "{% for m in messages %}{% for part in m['content'] %}{% if part['type'] == 'image' %}<image>{% else %}"
    "{{ part['text'] | trim }}{% endif %}{% endfor %}{% endfor %}"
)
KEEPS = TRIMS.replace(" | trim", "")
PICTURE, TOUCH = {"type": "image"}, {"type": "touch"}


def said(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def parts(prompt: str) -> list[dict[str, Any]]:
    known = {"{touch}": TOUCH, "{image}": PICTURE}
    return message_parts(known.get(piece) or said(piece) for piece in split_prompt(prompt))


def written(prompt: str, template: str) -> str:
    _, processor = speaking()
    processor.processor.chat_template = template
    text: str = processor.apply_chat_template([{"role": "user", "content": parts(prompt)}])
    return text


@pytest.mark.parametrize("template", [KEEPS, TRIMS])
@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        (ROBOT, "Here is <|touch|> from a robot. Is it soft?"),
        ("{touch} or {touch}: which?", "<|touch|> or <|touch|>: which?"),
        ("  {touch}\nIs it soft?\n", "<|touch|>\nIs it soft?"),
        ("{image} what is it?", "<image>what is it?"),
        ("{image} {touch} same?", "<image><|touch|> same?"),
    ],
)
def test_the_prompt_is_what_was_written(template: str, prompt: str, expected: str) -> None:
    assert written(prompt, template) == expected


def test_blanks_beside_a_picture_within_a_text_stay() -> None:
    assert written("Does {image} feel like {touch}?", KEEPS) == "Does <image> feel like <|touch|>?"
    assert parts(" {image}  {image} ") == [PICTURE, said("  "), PICTURE]


def test_a_question_is_asked_as_it_was_taught(monkeypatch: pytest.MonkeyPatch) -> None:
    model, processor = speaking()
    seen: list[str] = []
    plain = SensorProcessor.__call__

    def watched(self: SensorProcessor, text: Any, **options: Any) -> Any:
        seen.append(text)
        return plain(self, text, **options)

    monkeypatch.setattr(SensorProcessor, "__call__", watched)
    processor.processor.chat_template = KEEPS
    gel = Image.fromarray(np.zeros((16, 16, 3), np.uint8))
    red = Image.new("RGB", (48, 48), "red")
    ask_model(model, processor, "is it soft?", signals={"touch": [gel, gel]}, tokens=1)
    ask_model(model, processor, ROBOT, signals={"touch": [gel]}, tokens=1)
    ask_model(model, processor, "same?", images=[red], signals={"touch": [gel]}, tokens=1)
    assert seen == [
        written("{touch} {touch} is it soft?", KEEPS),
        written(ROBOT, KEEPS),
        written("{image} {touch} same?", KEEPS),
    ]


@pytest.mark.parametrize(
    ("token", "reason"), [("unk_token_id", r"unknown tokens and no word"), ("eos_token_id", r"ended it at once")]
)
def test_an_answer_without_words_says_why(monkeypatch: pytest.MonkeyPatch, token: str, reason: str) -> None:
    model, processor = speaking()
    mute = getattr(processor.tokenizer, token)

    def generate(input_ids: torch.Tensor, **options: Any) -> torch.Tensor:
        return torch.cat([input_ids, torch.full((1, 3), mute)], 1)

    monkeypatch.setattr(model.llm, "generate", generate)
    found = ask_model(model, processor, "is it soft?")
    assert found.text == ""
    assert reason in found.silence
