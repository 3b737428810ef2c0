"""Bridges that a configuration asks for, fitted to what it names."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_mllms import FAMILIES

from pairalign.align.run import load_aligned
from pairalign.core.errors import DataError
from pairalign.data.encode import ImageFormat
from pairalign.data.pack import pack_pairs
from pairalign.finetune.assemble import _recomposition
from pairalign.finetune.config import SensorConfig
from pairalign.sensors.bridges.bridge import SensorFeatures
from pairalign.sensors.bridges.recomposition import fit_recomposition


def pictures(sizes: list[tuple[int, int]]) -> list[Image.Image]:
    draw = np.random.default_rng(0)
    return [Image.fromarray(draw.integers(0, 255, (h, w, 3), dtype=np.uint8)) for w, h in sizes]


def qwen_processor() -> SimpleNamespace:
    """As many patches as a picture has room for."""
    from transformers.models.qwen2_vl import Qwen2VLImageProcessor

    own = Qwen2VLImageProcessor(patch_size=4, merge_size=2, min_pixels=64, max_pixels=4096)
    return SimpleNamespace(image_processor=own)


def test_recomposition_is_fitted_to_pictures_of_unequal_sizes(setup: Path, tmp_path: Path) -> None:
    sizes = [(16, 16)] * 9 + [(24, 16), (16, 32), (40, 24), (48, 48), (17, 30), (16, 24), (32, 16), (20, 44), (64, 16)]
    rows = [{"key": f"p{n}", "image": one, "split": "train"} for n, one in enumerate(pictures(sizes))]
    pack_pairs(rows, tmp_path / "shards", modalities=["image"], image=ImageFormat("png"), progress=False)
    aligner = load_aligned(setup / "demo" / "run").aligner
    config = SensorConfig("demo/run", bridge="recomposition", images="shards")
    model, device = FAMILIES["qwen2_5_vl"].model(), torch.device("cpu")
    bridge = _recomposition("touch", config, aligner, model, qwen_processor(), str(tmp_path), device)
    assert bridge.length == 4  # 16 x 16 pixels in patches of 4, four of which are one vector
    shared = torch.randn(2, len(bridge.gate))
    vectors = bridge(SensorFeatures(torch.zeros(2, 1, 8), shared, torch.zeros(2, 0)))
    assert vectors.shape == (2, 4, 32)
    assert vectors.isfinite().all()


def test_inputs_of_unequal_sizes_are_named(setup: Path) -> None:
    read = qwen_processor().image_processor
    sizes = [(16, 16)] * 15 + [(32, 16)]
    inputs = [dict(read(images=[one], return_tensors="pt")) for one in pictures(sizes)]
    model = FAMILIES["qwen2_5_vl"].model()
    with pytest.raises(DataError, match=r"the projector reads \(16, 16\) of one picture and \(32, 16\) of another"):
        fit_recomposition(model, inputs, torch.randn(16, 4), torch.ones(4))
