"""Hugging Face text towers give the vectors that the model's own class gives for the caption, whatever pads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from text_towers import END, LENGTH, SMALL, WORDS, write
from transformers import (
    AutoTokenizer,
    BertConfig,
    CLIPConfig,
    CLIPTextConfig,
    GPT2Config,
    LlamaConfig,
    RobertaConfig,
    Siglip2Config,
    SiglipConfig,
    T5Config,
)

from pairalign.core.encoder import Encoder
from pairalign.core.errors import ConfigError, SignalError
from pairalign.core.registry import create_encoder

CAPTIONS = ["a soft mug", "ball", "a cloth", "hard a red ball"]
SIGHT = {"hidden_size": 20, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
EYE = {**SIGHT, "image_size": 16, "patch_size": 8}
GPT = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": LENGTH, "vocab_size": len(WORDS)}
T5 = {"d_model": 16, "d_ff": 24, "d_kv": 8, "num_layers": 2, "num_heads": 2, "vocab_size": len(WORDS)}


@torch.no_grad()
def ours(encoder: Encoder, captions: list[str]) -> torch.Tensor:
    return encoder.eval()(encoder.collate([encoder.preprocess(caption) for caption in captions])).pooled


def check(encoder: Encoder, expected: torch.Tensor) -> None:
    """The captions alone and in a batch of unequal lengths."""
    torch.testing.assert_close(ours(encoder, CAPTIONS), expected, atol=1e-5, rtol=0)
    alone = torch.cat([ours(encoder, [caption]) for caption in CAPTIONS])
    torch.testing.assert_close(alone, expected, atol=1e-5, rtol=0)


@torch.no_grad()
def unpadded(model: Any, tokenizer: Any, pooled: Any) -> torch.Tensor:
    """Each caption by itself, without any padding."""
    given = [tokenizer(caption, return_tensors="pt")["input_ids"] for caption in CAPTIONS]
    return torch.cat([pooled(model(input_ids=ids)) for ids in given])


@pytest.mark.parametrize("pad", ["<end>", "<pad>", "<first>", None])
@pytest.mark.parametrize("eos", [END, 2])
@torch.no_grad()
def test_clip_pools_at_the_first_end_token(tmp_path: Path, pad: str | None, eos: int) -> None:
    model, tokenizer = write(tmp_path, CLIPTextConfig(**{**SMALL, "eos_token_id": eos}), pad)
    encoder = create_encoder("hf_text", model=str(tmp_path), pooling="pooler")
    check(encoder, unpadded(model, tokenizer, lambda out: out.pooler_output))
    if pad is not None:
        own = tokenizer(CAPTIONS, padding="max_length", max_length=LENGTH, return_tensors="pt")
        check(encoder, model(**own).pooler_output)
    last = create_encoder("hf_text", model=str(tmp_path), pooling="last")
    check(last, unpadded(model, tokenizer, lambda out: out.last_hidden_state[:, -1]))


@pytest.mark.parametrize("pad", ["<end>", "<pad>"])
@torch.no_grad()
def test_both_towers_of_clip_give_the_features_that_the_model_compares(tmp_path: Path, pad: str) -> None:
    config = CLIPConfig(text_config=SMALL, vision_config=EYE, projection_dim=8)
    model, tokenizer = write(tmp_path, config, pad)
    own = tokenizer(CAPTIONS, padding=True, return_tensors="pt")
    encoder = create_encoder("hf_text", model=str(tmp_path), pooling="projected")
    check(encoder, model.get_text_features(**own).pooler_output)
    assert encoder.width == 8
    assert not [name for name, _ in encoder.named_parameters() if "vision" in name or "logit" in name]
    plain = create_encoder("hf_text", model=str(tmp_path), pooling="pooler")
    check(plain, model.text_model(**own).pooler_output)
    eye = create_encoder("hf_vision", config={"model_type": "clip", **config.to_dict()}, pooling="projected").eval()
    eye.backbone.load_state_dict(model.state_dict(), strict=False)
    picture = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(eye(picture).pooled, model.get_image_features(picture).pooler_output)


@pytest.mark.parametrize("pad", ["<end>", "<pad>"])
@pytest.mark.parametrize("kind", [SiglipConfig, Siglip2Config])
@torch.no_grad()
def test_siglip_sees_padding_up_to_its_last_place_as_it_was_trained(tmp_path: Path, kind: Any, pad: str) -> None:
    model, _ = write(tmp_path, kind(text_config=SMALL, vision_config=SIGHT), pad)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)  # which of Siglip2 lowers letters
    own = tokenizer(CAPTIONS, padding="max_length", max_length=LENGTH, return_tensors="pt")["input_ids"]
    expected = model.get_text_features(input_ids=own).pooler_output
    torch.testing.assert_close(model.text_model(input_ids=own).pooler_output, expected)
    for pooling in ("projected", "pooler"):
        for longest in (None, LENGTH, LENGTH - 1):
            check(create_encoder("hf_text", model=str(tmp_path), pooling=pooling, max_length=longest), expected)


@pytest.mark.parametrize("pad", ["<pad>", "<first>", "<unk>", "<end>", None])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(
    "config",
    [
        BertConfig(**{k: v for k, v in SMALL.items() if k not in ("bos_token_id", "eos_token_id")}),
        RobertaConfig(**{**SMALL, "max_position_embeddings": LENGTH + 2}, pad_token_id=1),
        T5Config(**T5),
    ],
    ids=lambda config: config.model_type,
)
def test_encoders_pool_as_the_option_says(tmp_path: Path, config: Any, side: str, pad: str | None) -> None:
    model, tokenizer = write(tmp_path, config, pad, side=side)
    model = model.get_encoder() if config.model_type == "t5" else model
    wanted = {"mean": lambda out: out.last_hidden_state.mean(1), "cls": lambda out: out.last_hidden_state[:, 0]}
    for pooling, pooled in wanted.items():
        encoder = create_encoder("hf_text", model=str(tmp_path), pooling=pooling, max_length=LENGTH)
        check(encoder, unpadded(model, tokenizer, pooled))


@pytest.mark.parametrize("pad", ["<end>", "<pad>", None])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("config", [GPT2Config(**GPT), LlamaConfig(**SMALL)], ids=["gpt2", "llama"])
def test_models_that_read_from_left_to_right_pool_at_the_last_real_token(
    tmp_path: Path, config: Any, side: str, pad: str | None
) -> None:
    model, tokenizer = write(tmp_path, config, pad, marks=False, side=side)
    for pooling, pooled in (
        ("last", lambda out: out.last_hidden_state[:, -1]),
        ("mean", lambda out: out.last_hidden_state.mean(1)),
    ):
        encoder = create_encoder("hf_text", model=str(tmp_path), pooling=pooling)
        check(encoder, unpadded(model, tokenizer, pooled))
    with pytest.raises(ConfigError, match=r"left to right.*give 'last'"):
        create_encoder("hf_text", model=str(tmp_path), pooling="cls")


def test_a_tokenizer_with_neither_padding_nor_end_token_works(tmp_path: Path) -> None:
    named = {"bos_token": None, "eos_token": None}
    model, tokenizer = write(tmp_path, LlamaConfig(**SMALL), None, marks=False, **named)
    before = len(tokenizer)
    encoder = create_encoder("hf_text", model=str(tmp_path), pooling="last")
    check(encoder, unpadded(model, tokenizer, lambda out: out.last_hidden_state[:, -1]))
    assert len(encoder.words.tokenizer) == before
    assert encoder.backbone.get_input_embeddings().weight.equal(model.get_input_embeddings().weight)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_tower_stored_in_16_bits_is_read_as_float32_to_the_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    model, _ = write(tmp_path, GPT2Config(**GPT), "<end>", marks=False)
    model.to(dtype).save_pretrained(tmp_path)
    encoder = create_encoder("hf_text", model=str(tmp_path), pooling="last")
    assert {p.dtype for p in encoder.parameters()} == {torch.float32}
    assert ours(encoder, CAPTIONS).dtype == torch.float32
    read = encoder.backbone.state_dict()
    assert all(read[name].equal(value.float()) for name, value in model.state_dict().items())


def test_a_special_token_that_a_caption_spells_is_plain_text(tmp_path: Path) -> None:
    write(tmp_path, GPT2Config(**GPT), "<end>", marks=False)
    encoder = create_encoder("hf_text", model=str(tmp_path))
    assert END not in encoder.preprocess("a <end> mug").tolist()[:3]


def test_what_is_cut_off_is_counted(tmp_path: Path) -> None:
    write(tmp_path, BertConfig(**SMALL), "<pad>")
    encoder = create_encoder("hf_text", model=str(tmp_path), max_length=6)
    assert encoder.overlong("a red mug") == 0
    assert encoder.overlong("a red mug a red") == 1
    hashed = create_encoder("hf_text", config={"model_type": "bert", **SMALL}, max_length=3)
    assert (hashed.overlong("a red mug"), hashed.overlong("a red mug a red")) == (0, 2)


@pytest.mark.parametrize(
    ("caption", "reason"),
    [
        ("a \ud83d mug", "lone surrogate"),
        (["a mug", "a ball"], "a list of 2 captions"),
        ("", "not empty"),
        (7, "not empty"),
    ],
)
def test_what_is_no_caption_is_refused(tmp_path: Path, caption: Any, reason: str) -> None:
    write(tmp_path, BertConfig(**SMALL), "<pad>")
    for encoder in (create_encoder("hf_text", model=str(tmp_path)), create_encoder("openclip_text", config="tiny")):
        with pytest.raises(SignalError, match=reason):
            encoder.preprocess(caption)


def test_hashed_captions_end_where_clip_pools() -> None:
    encoder = create_encoder("hf_text", config={"model_type": "clip_text_model", **SMALL}, pooling="pooler")
    one, two = ours(encoder, ["a red mug", "a red ball"])
    assert not torch.allclose(one, two)
    assert encoder.preprocess("a red mug").tolist()[3] == END


@pytest.mark.parametrize(
    ("config", "options", "words"),
    [
        (BertConfig(**SMALL), {"max_length": 13}, "max_length=13.*1 to 12"),
        (RobertaConfig(**SMALL, pad_token_id=1), {"max_length": 12}, "1 to 10"),
        (BertConfig(**SMALL), {"pooling": "projected"}, "has no get_text_features"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(
    tmp_path: Path, config: Any, options: dict[str, Any], words: str
) -> None:
    write(tmp_path, config, "<pad>")
    with pytest.raises(ConfigError, match=words):
        create_encoder("hf_text", model=str(tmp_path), **options)


def test_a_tokenizer_that_ends_no_caption_is_refused_for_clip(tmp_path: Path) -> None:
    write(tmp_path, CLIPTextConfig(**SMALL), "<pad>", marks=False)
    with pytest.raises(ConfigError, match="ends no caption with token 11"):
        create_encoder("hf_text", model=str(tmp_path), pooling="pooler")
