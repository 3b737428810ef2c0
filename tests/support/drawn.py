"""A small trained run over a sensor of six numbers, pictures of eight pixels and a frozen tower, and pairs of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from conftest import TinyVector
from pairalign.align.run import AlignRun, align_pairs
from pairalign.core import registry
from pairalign.core.config import AlignConfig, load_config
from pairalign.core.encoder import Encoder
from pairalign.core.types import Features, Signal
from pairalign.data.encode import ImageFormat
from pairalign.data.pack import pack_pairs


class TinyPicture(Encoder):
    """An MLP over pictures of 8 × 8."""

    def __init__(self, width: int = 16) -> None:
        super().__init__(width)
        self.signal = Signal("image", (3, 8, 8), axes=("channel", "height", "width"))
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(192, 32), nn.GELU(), nn.Linear(32, width))

    def preprocess(self, raw: Any) -> Tensor:
        return torch.from_numpy(np.array(raw).transpose(2, 0, 1).astype("float32") / 127.5 - 1)

    def forward(self, batch: Tensor) -> Features:
        pooled = self.net(batch)
        return Features(pooled[:, None], pooled)


def register() -> None:
    registry._registered |= {"tiny_vector": TinyVector, "tiny_picture": TinyPicture}


def rows(count: int, split: str, seed: int) -> Iterator[dict[str, Any]]:
    """What is lit, red or green, all three see; whether blue is lit, pictures alone; and `own` the sensor alone."""
    rng = np.random.default_rng([seed, len(split)])
    for i in range(count):
        red, green, blue, own = rng.integers(0, 2, 4)
        noise = rng.normal(size=(8, 8, 3)) * 12
        light = np.array([red, green, blue]) * 160 + 48
        picture = Image.fromarray(np.clip(light + noise, 0, 255).astype("uint8"))
        side = np.array([2 * red - 1, 2 * green - 1, 2 * own - 1, *rng.normal(size=3) / 4], "float32")
        label = {"red": str(red), "green": str(green), "blue": str(blue), "own": str(own)}
        tower = np.array([2 * red - 1, 2 * green - 1, 0, *rng.normal(size=3) / 4], "float32")
        yield {"key": f"{split}-{seed}-{i:04}", "a": side, "p": picture, "f": tower, "split": split, "label": label}


def pack(folder: Path, names: list[str], splits: dict[str, int], seed: int) -> Path:
    found = [
        {k: v for k, v in row.items() if k not in "apf" or k in names}
        for split, count in splits.items()
        for row in rows(count, split, seed)
    ]
    units = {name: {"unit": "N"} for name in names if name != "p"}
    image = ImageFormat("png")
    pack_pairs(found, folder, modalities=names, units=units, image=image, progress=False, synthetic=True)
    return folder


def make_run(root: Path) -> AlignRun:
    """Shards `a-p`, `a-f` and `held` (split "val", all three) in `root`, and the run over them."""
    register()
    pack(root / "a-p", ["a", "p"], {"train": 300}, 1)
    pack(root / "a-f", ["a", "f"], {"train": 100}, 2)
    pack(root / "held", ["a", "p", "f"], {"val": 160}, 3)
    settings = {
        "modalities": {
            "a": {"encoder": "tiny_vector"},
            "p": {"encoder": "tiny_picture"},
            "f": {"encoder": "tiny_vector", "tune": "none"},
        },
        "edges": [{"between": ["a", "p"], "shards": "a-p"}, {"between": ["a", "f"], "shards": "a-f"}],
        "out": str(root / "run"),
        "latent": {"shared": 8, "private": 4, "hidden": 32, "standardise": True},
        "loss": {"reconstruct": 1.0, "detach": True},
        "train": {"steps": 100, "batch_size": 48, "warmup": 5, "lr": 8e-3, "accelerator": "cpu"},
        "data": {"root": str(root), "shuffle": 500, "val_split": None},
    }
    return align_pairs(load_config(AlignConfig, settings), progress=False)
