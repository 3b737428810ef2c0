"""Hugging Face backbones: a local folder gives its own weights and tokens; padding does not change a caption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoImageProcessor,
    AutoModel,
    BertConfig,
    BertModel,
    PreTrainedTokenizerFast,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
)

from pairalign.core.errors import ConfigError, SignalError
from pairalign.core.registry import create_encoder

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "blue", "mug", "ball", "soft"]
BERT = {
    "model_type": "bert",
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    settings = {k: v for k, v in BERT.items() if k != "model_type"}
    BertModel(BertConfig(**{**settings, "vocab_size": len(WORDS)})).save_pretrained(tmp_path / "bert")
    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]").save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


def test_a_local_folder_gives_its_weights_and_its_tokens(bert: Path) -> None:
    encoder = create_encoder("hf_text", model=str(bert), max_length=8).eval()
    tokens = encoder.preprocess("a red mug")
    assert tokens.tolist() == [2, 5, 6, 8, 3, 0, 0, 0]
    reference = AutoModel.from_pretrained(bert).eval()
    with torch.no_grad():
        expected = reference(input_ids=tokens[None, :5]).last_hidden_state.mean(1)
        torch.testing.assert_close(encoder(tokens[None]).pooled, expected, atol=1e-5, rtol=1e-4)
    assert encoder.restorable


@pytest.mark.parametrize("pooling", ["mean", "cls", "last", "pooler"])
def test_padding_does_not_change_a_caption(bert: Path, pooling: str) -> None:
    short, long = (create_encoder("hf_text", model=str(bert), max_length=n, pooling=pooling).eval() for n in (6, 12))
    with torch.no_grad():
        one, two = (encoder(encoder.preprocess("a blue ball")[None]).pooled for encoder in (short, long))
    torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)


def test_a_configuration_needs_no_tokenizer() -> None:
    encoder = create_encoder("hf_text", config=BERT, max_length=8)
    one, two = encoder.preprocess("a red mug"), encoder.preprocess("A RED mug!")
    assert one.equal(two)
    assert 0 < int(one[:3].min()) <= int(one.max()) < 50
    assert not encoder.restorable


def test_the_last_layers_train_alone() -> None:
    encoder = create_encoder("hf_text", config=BERT)
    encoder.tune(1)
    names = {name for name, p in encoder.named_parameters() if p.requires_grad}
    assert names
    assert all("layer.1" in name for name in names)


def test_a_vision_folder_gives_its_weights_and_its_preprocessing(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=16
    )
    ViTModel(config).save_pretrained(tmp_path / "vit")
    processor = ViTImageProcessor(size={"height": 32, "width": 32}, image_mean=[0.4] * 3, image_std=[0.2] * 3)
    processor.save_pretrained(tmp_path / "vit")
    encoder = create_encoder("hf_vision", model=str(tmp_path / "vit"), pooling="mean").eval()
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8))
    value = encoder.preprocess(picture)
    processor = AutoImageProcessor.from_pretrained(tmp_path / "vit")  # which may read the folder by another backend
    torch.testing.assert_close(value, processor(picture, return_tensors="pt")["pixel_values"][0])
    reference = AutoModel.from_pretrained(tmp_path / "vit").eval()
    with torch.no_grad():
        expected = reference(pixel_values=value[None]).last_hidden_state
        features = encoder(value[None])
    torch.testing.assert_close(features.tokens, expected)
    torch.testing.assert_close(features.pooled, expected.mean(1))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "give exactly one of them"),
        ({"config": {"hidden_size": 8}}, "lacks model_type"),
        ({"config": BERT, "pooling": "meen"}, "Did you mean 'mean'"),
        ({"config": BERT, "templates": ["{} and {}"]}, "exactly once"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        create_encoder("hf_text", **options)


def test_an_empty_folder_and_an_empty_caption_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"needs config\.json and model\.safetensors"):
        create_encoder("hf_text", model=str(tmp_path))
    with pytest.raises(SignalError, match="not empty"):
        create_encoder("hf_text", config=BERT).preprocess("")
