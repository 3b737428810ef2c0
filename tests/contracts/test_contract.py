"""One set of promises over everything that is registered; and each promise is seen to break."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from conftest import TinyVector
from pairalign.core.contract import PROMISES, check_encoder
from pairalign.core.encoder import Encoder
from pairalign.core.registry import create_encoder, encoder_entries
from pairalign.core.types import Features, Signal

TRANSFORMER = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "dgcnn": [
        {"points": 48},
        {"points": 48, "normals": True, "dynamic": True, "rotate": "so3"},
        {"points": None, "neighbours": 20},
        {"points": 48, "columns": "xyzrgbnormal", "transforms": [{"name": "RandomShear", "shear": 0.2}]},
    ],
    "hf_text": [{"config": {"model_type": "bert", "vocab_size": 500, **TRANSFORMER}, "max_length": 12}],
    "hf_vision": [{"config": {"model_type": "vit", "image_size": 32, "patch_size": 8, **TRANSFORMER}}],
    "openclip_image": [{"config": "tiny"}, {"config": "tiny-vit"}],
    "openclip_text": [{"config": "tiny"}, {"config": "tiny", "templates": ["a photo of {}"]}],
    "pointnet2": [
        {"points": 48},
        {"points": 48, "normals": True, "rotate": "up", "normalize": "unit_ball"},
        {"points": None, "normals": True},
        {"points": 48, "columns": "xyznormalrgb", "transforms": [{"name": "RandomFlip", "axis": 0}]},
    ],
    "series": [{"channels": 3, "length": 256}, {"length": 2048, "front": "spectrogram", "standardise": True}],
    "tiny_vector": [{}],
    "touch_cnn": [{"size": 32}, {"size": 32, "frames": 2, "sensors": ["gelsight", "digit"]}],
    "touch_vit": [{"preset": "mini", "size": 32}, {"preset": "mini", "size": 32, "sensors": ["digit"], "frames": 2}],
}


def test_every_registered_encoder_is_checked() -> None:
    assert set(encoder_entries()) == set(OPTIONS)


@pytest.mark.parametrize(("name", "options"), [(n, o) for n, several in OPTIONS.items() for o in several])
def test_every_promise_is_kept(name: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    broken = [p for p in check_encoder(create_encoder(name, **options)) if not p.kept]
    allowed = {"the card states licence, preprocessing, sources"} if name == "tiny_vector" else set()
    assert {p.name for p in broken} <= allowed, broken


class Good(TinyVector):
    """Keeps every promise."""

    card = {"licence": "x", "preprocessing": "none", "sources": ["none"]}  # noqa: RUF012


class WrongShape(Good):
    """Declares seven numbers, gives six."""

    def preprocess(self, raw: Any) -> Tensor:
        return super().preprocess(raw)[:5]


class DrawsInPreprocess(Good):
    """Noise where none belongs."""

    def preprocess(self, raw: Any) -> Tensor:
        return super().preprocess(raw) + torch.rand(6)


class PooledTooWide(Good):
    """Pooled is not of the declared width."""

    def forward(self, batch: Tensor) -> Features:
        f = super().forward(batch)
        return Features(f.tokens, torch.cat([f.pooled, f.pooled], 1))


class DeadWeight(Good):
    """A layer that forward() never uses."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Linear(2, 2)


class Forgets(Good):
    """A weight that is not in its state."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factor", torch.tensor(3.0), persistent=False)
        self.hidden = [torch.ones(16)]

    def forward(self, batch: Tensor) -> Features:
        self.hidden[0] += 1
        f = super().forward(batch)
        return Features(f.tokens, f.pooled * self.hidden[0])


class AlwaysDrops(Good):
    """Dropout in evaluation."""

    def forward(self, batch: Tensor) -> Features:
        f = super().forward(batch)
        return Features(f.tokens, nn.functional.dropout(f.pooled, 0.5, training=True))


class LooksAtNeighbours(Good):
    """Normalises over the batch in evaluation."""

    def forward(self, batch: Tensor) -> Features:
        f = super().forward(batch)
        return Features(f.tokens, f.pooled - f.pooled.mean(0))


class AugmentsFromElsewhere(Good):
    """Draws from the global generator."""

    def augment(self, value: Tensor, generator: torch.Generator) -> Tensor:
        return value + torch.randn(value.shape)


class NeverRests(Good):
    """Stays in training mode when frozen."""

    def train(self, mode: bool = True) -> Encoder:
        return nn.Module.train(self, mode)


class NoCard(Good):
    """Says nothing."""

    card = {}  # noqa: RUF012


class NoDoc(Good):
    pass


@pytest.mark.parametrize(
    ("encoder", "promise"),
    [
        (WrongShape, "preprocess keeps the declared signal"),
        (DrawsInPreprocess, "preprocess repeats"),
        (PooledTooWide, "features have the declared shapes"),
        (DeadWeight, "gradients reach every trainable parameter"),
        (Forgets, "save and load is bit-equal"),
        (AlwaysDrops, "evaluation mode is deterministic"),
        (LooksAtNeighbours, "any batch size gives the same features"),
        (AugmentsFromElsewhere, "augment keeps the signal and its generator"),
        (NeverRests, "a frozen encoder stays in evaluation mode"),
        (NoCard, "the card states licence, preprocessing, sources"),
    ],
)
def test_each_broken_promise_is_found(encoder: type[Good], promise: str) -> None:
    assert promise in {p.name for p in check_encoder(encoder()) if not p.kept}


def test_a_good_encoder_keeps_them_all_and_every_promise_is_named() -> None:
    found = check_encoder(Good())
    assert [p.name for p in found] == list(PROMISES)
    assert all(p.kept for p in found), found


def test_free_sizes_and_given_samples() -> None:
    encoder = Good()
    encoder.signal = Signal("vector", (None,), unit="N")
    assert all(p.kept for p in check_encoder(encoder, [[0.0] * 6, [1.0] * 6]))
