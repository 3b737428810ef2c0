"""Pictures with one caption or several, and small runs and encoders that read them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pairalign.core.config import AlignConfig, load_config
from pairalign.core.encoder import Encoder
from pairalign.core.registry import create_encoder
from pairalign.data.encode import ImageFormat
from pairalign.data.pack import pack_pairs

BERT = {
    "model_type": "bert",
    "vocab_size": 300,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}
FIVE = ["a soft mug", "the mug is red", "one red cup", "something soft", "it gives way"]


def text_encoder(length: int = 8, **options: Any) -> Encoder:
    torch.manual_seed(0)
    return create_encoder("hf_text", config=BERT, max_length=length, **options)


def pack(folder: Path, texts: Sequence[Any], images: Sequence[int] | None = None) -> Path:
    numbers = range(len(texts)) if images is None else images
    pictures = [np.random.default_rng(n).integers(0, 256, (16, 16, 3), dtype=np.uint8) for n in numbers]
    rows = [
        {"key": f"k{n:02}", "image": Image.fromarray(picture), "text": text}
        for n, (picture, text) in enumerate(zip(pictures, texts, strict=True))
    ]
    pack_pairs(rows, folder, image=ImageFormat("png"), progress=False)
    return folder


def config(folder: Path, tune: str = "all", **changes: Any) -> AlignConfig:
    told = {
        "modalities": {
            "image": {"encoder": "touch_cnn", "options": {"size": 16, "channels": 4, "width": 8}},
            "text": {"encoder": "hf_text", "options": {"config": BERT, "max_length": 8}, "tune": tune},
        },
        "edges": [{"between": ["image", "text"], "shards": "s"}],
        "out": str(folder / "run"),
        "latent": {"shared": 8, "private": 4, "hidden": 16},
        "data": {"root": str(folder), "val_split": None, **changes},
        "train": {"steps": 3, "batch_size": 4, "warmup": 1, "checkpoint_every": 0, "accelerator": "cpu"},
    }
    return load_config(AlignConfig, told)
