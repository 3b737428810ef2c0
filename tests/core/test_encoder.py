"""The base class: what trains, what stays in evaluation mode, and the default steps from raw to batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from pairalign.core.encoder import Encoder
from pairalign.core.errors import SignalError
from pairalign.core.registry import create_encoder
from pairalign.core.types import Features, Signal


class Stack(Encoder):
    signal = Signal("vector", (4,))

    def __init__(self) -> None:
        super().__init__(8)
        self.first = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8))
        self.second = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(0.5))

    def forward(self, batch: torch.Tensor) -> Features:
        pooled = self.second(self.first(batch))
        return Features(pooled[:, None], pooled)


def trained(encoder: Encoder) -> set[str]:
    return {name.partition(".")[0] for name, p in encoder.named_parameters() if p.requires_grad}


def test_tune_chooses_what_trains() -> None:
    encoder = Stack()
    assert trained(encoder) == {"first", "second"}
    encoder.tune(1)
    assert trained(encoder) == {"second"}
    encoder.tune("none")
    assert trained(encoder) == set()
    assert encoder.frozen
    encoder.tune("all")
    assert trained(encoder) == {"first", "second"}


@pytest.mark.parametrize("how", [0, 3, -1, True, "some"])
def test_a_wrong_choice_changes_nothing(how: object) -> None:
    encoder = Stack()
    with pytest.raises(SignalError, match="a number of last blocks from 1 to 2"):
        encoder.tune(how)  # type: ignore[arg-type]
    assert trained(encoder) == {"first", "second"}


@pytest.mark.parametrize(("how", "moves"), [("all", {0, 1}), (1, {1}), ("none", set())])
def test_frozen_parts_keep_their_batch_statistics(how: str | int, moves: set[int]) -> None:
    encoder = Stack()
    encoder.tune(how)
    encoder.train()
    norms = [encoder.first[1], encoder.second[1]]
    before = [norm.running_mean.clone() for norm in norms]
    encoder(torch.randn(16, 4) + 3)
    changed = {i for i, (norm, old) in enumerate(zip(norms, before, strict=True)) if not norm.running_mean.equal(old)}
    assert changed == moves


def test_the_default_steps_from_raw_to_batch() -> None:
    encoder = Stack()
    values = [encoder.preprocess(np.arange(4) + i) for i in range(3)]
    assert values[0].dtype == torch.float32
    batch = encoder.collate(values)
    assert batch.tolist() == [[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5]]
    generator = torch.Generator().manual_seed(0)
    assert encoder.view(np.arange(4), generator).equal(values[0])


PICTURES = [
    ("openclip_image", {"config": "tiny-vit"}),
    ("touch_cnn", {"size": 16}),
    ("touch_vit", {"preset": "mini", "size": 32}),
]


@pytest.mark.parametrize(("name", "options"), PICTURES)
def test_training_carries_bytes_of_what_preprocess_gives(name: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    encoder = create_encoder(name, **options).eval()
    raw = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 30, 3), np.uint8))
    small, plain = encoder.compact(raw), encoder.preprocess(raw)
    assert small.dtype == torch.uint8
    encoder.compact_signal.check(small, "compact()")
    encoder.signal.check(plain, "preprocess()")
    with torch.no_grad():
        assert encoder(small[None]).pooled.equal(encoder(plain[None]).pooled)
    views = [encoder.augment(one, torch.Generator().manual_seed(3)) for one in (small, plain)]
    off = (encoder.as_float(views[0]) - views[1]).abs().flatten()
    assert off.quantile(0.9) < 0.51 / 255 / 0.26  # rounding; the rest saturates


@pytest.mark.parametrize("method", ["preprocess", "augment", "forward"])
def test_a_subclass_with_a_step_of_its_own_is_trained_on_what_it_preprocesses(method: str) -> None:
    base = type(create_encoder("touch_cnn", size=16))
    own = type("Own", (base,), {method: getattr(base, method)})(size=16)
    raw = Image.new("RGB", (16, 16), "red")
    assert own.compact(raw).equal(own.preprocess(raw))
    assert own.compact(raw).dtype == torch.float32
    both = type("Both", (base,), {method: getattr(base, method), "compact": base.compact})(size=16)
    assert both.compact(raw).dtype == torch.uint8
