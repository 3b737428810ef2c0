"""Towers that are stored in 16 bits: planned, trained, cached and read again like those of float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from text_towers import SMALL, write
from transformers import AutoModel, BertConfig, ViTConfig, ViTImageProcessor

from pairalign.align.plan import plan_run
from pairalign.align.run import align_pairs, load_aligned
from pairalign.core.config import AlignConfig, load_config
from pairalign.core.errors import ConfigError
from pairalign.data.pack import pack_pairs
from pairalign_openclip.towers import TINY

SIGHT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
WORDS = ("a soft mug", "a hard ball", "a red cloth", "a soft ball", "a red mug", "a hard cloth")


@pytest.fixture
def towers(tmp_path: Path) -> Path:
    model, _ = write(tmp_path / "text", BertConfig(**SMALL), "<pad>")
    model.to(torch.bfloat16).save_pretrained(tmp_path / "text")
    eye = AutoModel.from_config(ViTConfig(image_size=16, patch_size=8, **SIGHT))
    eye.to(torch.bfloat16).save_pretrained(tmp_path / "eye")
    ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(tmp_path / "eye")
    return tmp_path


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype="uint8")) for _ in WORDS]
    rows = [
        {"key": f"k{n}", "image": picture, "text": text}
        for n, (picture, text) in enumerate(zip(pictures, WORDS, strict=True))
    ]
    pack_pairs(rows, tmp_path / "shards", progress=False)
    return tmp_path / "shards"


def settings(image: dict[str, Any], text: dict[str, Any], folder: Path, tune: str, precision: str) -> AlignConfig:
    told = {
        "modalities": {"image": {**image, "tune": tune}, "text": {**text, "tune": tune}},
        "edges": [{"between": ["image", "text"], "shards": "shards"}],
        "out": str(folder / "run"),
        "latent": {"shared": 8, "private": 4, "hidden": 16},
        "data": {"root": str(folder), "val_split": None},
        "train": {"steps": 2, "batch_size": 3, "warmup": 1, "checkpoint_every": 0, "accelerator": "cpu"},
    }
    return load_config(AlignConfig, told, [f"train.precision={precision}"])


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("tune", ["none", "all"])
def test_hugging_face_towers_are_planned_trained_and_read_again(
    towers: Path, shards: Path, tune: str, precision: str
) -> None:
    image = {"encoder": "hf_vision", "options": {"model": str(towers / "eye")}}
    text = {"encoder": "hf_text", "options": {"model": str(towers / "text")}}
    config = settings(image, text, towers, tune, precision)
    plan_run(config)
    align_pairs(config, progress=False)
    aligner = load_aligned(towers / "run").aligner
    for name, raw in (("image", np.zeros((16, 16, 3), np.uint8)), ("text", WORDS[0])):
        encoder = aligner.encoder(name)
        assert {p.dtype for p in encoder.parameters()} == {torch.float32}
        assert aligner.encode(name, encoder.preprocess(raw)[None]).shared.dtype == torch.float32


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("tune", ["none", "all"])
def test_open_clip_towers_are_planned_and_trained(
    towers: Path, shards: Path, tune: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny, built = TINY["tiny-vit"], open_clip.CustomTextCLIP
    monkeypatch.setattr("open_clip.CustomTextCLIP", lambda **of: built(**of).to(torch.bfloat16))
    image, text = ({"encoder": f"openclip_{side}", "options": {"config": tiny}} for side in ("image", "text"))
    config = settings(image, text, towers, tune, precision)
    plan_run(config)
    aligner = align_pairs(config, progress=False).aligner
    assert {p.dtype for p in aligner.parameters()} == {torch.float32}


def test_a_precision_that_would_round_weights_is_refused_by_name(towers: Path, shards: Path) -> None:
    image = {"encoder": "hf_vision", "options": {"model": str(towers / "eye")}}
    text = {"encoder": "hf_text", "options": {"model": str(towers / "text")}}
    config = settings(image, text, towers, "all", "bf16-true")
    for run in (plan_run, align_pairs):
        with pytest.raises(ConfigError, match=r"train\.precision='bf16-true'"):
            run(config)
