"""Prompts with sensors, through a real LLaVA processor."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sensing import make_sensor, speaking

from pairalign.core.errors import ConfigError, DataError, SignalError
from pairalign.demo.base import build_base, build_processor
from pairalign.sensors.processor import SensorProcessor, load_base, placeholder


def gel(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (16, 16, 3), dtype=np.uint8))


def message(*parts: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


TOUCH, TEXT, PICTURE = {"type": "touch"}, {"type": "text", "text": "is it soft?"}, {"type": "image"}


def test_a_chat_with_a_touch_and_a_picture_is_answered() -> None:
    model, processor = speaking()
    talks = [message(TOUCH, PICTURE, TEXT), message(PICTURE, TEXT)]
    texts = processor.apply_chat_template(talks, add_generation_prompt=True)
    assert texts[0].index("<|touch|>") < texts[0].index("<image>") < texts[0].index("is it soft?")
    pictures = [Image.new("RGB", (48, 48), c) for c in ("red", "blue")]
    batch = processor(texts, images=pictures, signals={"touch": [gel()]}, padding=True, padding_side="left")
    assert (batch["input_ids"] == processor.placeholders["touch"]).sum(1).tolist() == [4, 0]
    said = model.generate(**batch, max_new_tokens=3, do_sample=False)
    answers = processor.decode(said, batch["input_ids"])
    assert len(answers) == 2
    assert all(isinstance(answer, str) for answer in answers)


def test_the_placeholder_is_past_the_bases_vocabulary_and_its_tokenizer_is_left_alone() -> None:
    own = build_processor()
    before = len(own.tokenizer)
    base = build_base(width=32, layers=1, vision_layers=1)
    processor = SensorProcessor(own, {"touch": make_sensor(base)})
    assert processor.placeholders == {"touch": before}
    assert len(own.tokenizer) == before
    assert base.get_input_embeddings().num_embeddings == before


def test_a_tokenizer_that_has_the_placeholder_is_refused() -> None:
    own = build_processor()
    own.tokenizer.add_tokens(["<|touch|>"], special_tokens=True)
    with pytest.raises(ConfigError, match=r"the tokenizer has '<.touch.>' already"):
        SensorProcessor(own, {"touch": make_sensor(build_base(width=32, layers=1, vision_layers=1))})


def test_counts_and_names_are_checked() -> None:
    _, processor = speaking()
    with pytest.raises(DataError, match=r"the text has 2 <\|touch\|>, and 1 signals"):
        processor("user: <|touch|> <|touch|>", signals={"touch": [gel()]})
    with pytest.raises(DataError, match=r"the text has 1 <\|touch\|>, and 0 signals"):
        processor("user: <|touch|>")
    with pytest.raises(ConfigError, match=r"'toch' is not installed. Did you mean 'touch'"):
        processor("user: hello", signals={"toch": [gel()]})
    with pytest.raises(ConfigError, match=r"type 'tuch'. Did you mean 'touch'"):
        processor.apply_chat_template(message({"type": "tuch"}))
    with pytest.raises(ConfigError, match=r"tokenize=True"):
        processor.apply_chat_template(message(TOUCH), tokenize=True)


def test_a_signal_that_breaks_its_promise_is_named() -> None:
    base = build_base(width=32, layers=1, vision_layers=1)
    processor = SensorProcessor(build_processor(), {"cloud": make_sensor(base, "cloud")})
    with pytest.raises(SignalError, match=r"NaN or infinity"):
        processor("user: <|cloud|>", signals={"cloud": [np.full((16, 3), np.nan, np.float32)]})


def test_signals_may_stand_in_the_messages() -> None:
    _, processor = speaking()
    one, other = gel(1), gel(2)
    talk = message({**TOUCH, "touch": one}, TEXT, {**TOUCH, "touch": other})
    assert processor.signals_of(talk) == {"touch": [one, other]}
    assert processor.apply_chat_template(talk).count(placeholder("touch")) == 2


def test_a_base_is_loaded_from_a_folder_and_nothing_else(tmp_path: Any) -> None:
    build_base(width=32, layers=1, vision_layers=1).half().save_pretrained(tmp_path / "base")
    build_processor().save_pretrained(tmp_path / "base")
    model, processor = load_base(str(tmp_path / "base"), "float32")
    assert model.dtype == torch.float32
    assert not model.training
    assert processor.tokenizer.chat_template
    with pytest.raises(ConfigError, match=r"base='.*nothing' cannot be loaded"):
        load_base(str(tmp_path / "nothing"))
    from recompose_models import tiny_llama

    tiny_llama().save_pretrained(tmp_path / "text")
    with pytest.raises(ConfigError, match=r"image-text-to-text"):
        load_base(str(tmp_path / "text"))


def test_pictures_are_seen_upright_and_in_eight_bits_whatever_they_are_stored_as() -> None:
    _, processor = speaking()
    ramp = np.mgrid[:48, :48][1] * 5
    plain = Image.fromarray(np.repeat(ramp.astype(np.uint8)[..., None], 3, 2))
    stream = io.BytesIO()
    notes = Image.Exif()
    notes[0x0112] = 3
    plain.rotate(180).save(stream, "PNG", exif=notes)
    turned = Image.open(stream)
    clear = plain.copy()
    clear.putalpha(255)
    deep = Image.fromarray((ramp * 257).astype(np.uint16))
    read = [
        processor(processor.apply_chat_template([message(PICTURE, TEXT)]), images=[[picture]])["pixel_values"]
        for picture in (plain, turned, clear, deep)
    ]
    for other in read[1:]:
        torch.testing.assert_close(other, read[0])
