"""A run whose every embedding is known by heart: towers without parameters, in a space that is their own.

A vector is its own embedding; a cloud of four points is its twelve coordinates; a text has a one for each known word.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pairalign.align.latents import AnchorHead
from pairalign.align.model import PairAligner
from pairalign.align.run import AlignRun
from pairalign.core.config import AlignConfig, DataConfig, EdgeConfig, LatentConfig, LossConfig, ModalityConfig
from pairalign.core.encoder import Encoder
from pairalign.core.types import Features, Signal
from pairalign.data.graph import PairGraph
from pairalign.data.pack import pack_pairs

WORDS = ("soft", "woven", "hard", "smooth", "rough", "wood", "metal", "chair", "table", "lamp")
SIZE = 12  # a dimension a word, two for the spelling, so that no two texts are alike
LENGTH = 96


def embed_text(text: str) -> list[float]:
    """What `KnownText` makes of a text, not normalised."""
    spelling = sum(place * ord(c) for place, c in enumerate(text))
    rest = [0.3 * ("photo" in text) + 0.2 * math.cos(spelling), 0.2 * math.sin(spelling)]
    return [*(float(word in text) for word in WORDS), *rest]


class KnownText(Encoder):
    """Words it knows, and a little of the prompt's form."""

    signal = Signal("text", (LENGTH,), dtype="int64")

    def __init__(self) -> None:
        super().__init__(SIZE)

    def preprocess(self, raw: Any) -> Tensor:
        codes = [ord(c) for c in raw[:LENGTH]]
        return torch.tensor(codes + [0] * (LENGTH - len(codes)))

    def forward(self, batch: Tensor) -> Features:
        texts = ["".join(chr(c) for c in row if c) for row in batch.tolist()]
        pooled = torch.tensor([embed_text(text) for text in texts])
        return Features(pooled[:, None], pooled)


class KnownVector(Encoder):
    """Its own embedding."""

    signal = Signal("vector", (SIZE,))

    def __init__(self) -> None:
        super().__init__(SIZE)

    def forward(self, batch: Tensor) -> Features:
        return Features(batch[:, None], batch)


class KnownPoints(Encoder):
    """Four points, their coordinates."""

    signal = Signal("points", (4, 3))

    def __init__(self) -> None:
        super().__init__(SIZE)

    def forward(self, batch: Tensor) -> Features:
        return Features(batch, batch.flatten(1))


ENCODERS: dict[str, type[Encoder]] = {"text": KnownText, "points": KnownPoints}


@pytest.fixture
def known_run(tmp_path: Path) -> Callable[..., AlignRun]:
    """Make a run over the given edges; modalities named "text" and "points" are what they say, all others vectors.

    gated: give every edge a gate of its own, from closed to open.
    """

    def make(
        *edges: tuple[str, str], shards: str = "pairs", train_split: str = "train", gated: bool = False
    ) -> AlignRun:
        names = list(dict.fromkeys(end for edge in edges for end in edge))
        config = AlignConfig(
            {name: ModalityConfig("known") for name in names},
            tuple(EdgeConfig(edge, shards) for edge in edges),
            out=str(tmp_path / "run"),
            data=DataConfig(root=str(tmp_path), train_split=train_split),
        )
        encoders = {name: ENCODERS.get(name, KnownVector)() for name in names}
        heads = dict.fromkeys(names, "anchor")
        graph = PairGraph(tuple(names), edges)
        aligner = PairAligner(encoders, graph, LatentConfig(SIZE, 2), LossConfig(gates=gated), heads)
        for place, logits in enumerate(aligner.gates.logits.values()):
            logits.data = torch.linspace(-3, 2, SIZE).roll(place)
        for head in aligner.heads.values():
            assert isinstance(head, AnchorHead)
            head.basis.copy_(torch.eye(SIZE))
        (tmp_path / "run").mkdir(exist_ok=True)
        return AlignRun(tmp_path / "run", config, aligner.eval())

    return make


@pytest.fixture
def pack(tmp_path: Path) -> Callable[..., Path]:
    """Pack rows into the shard folder "pairs" or another."""

    def make(rows: Sequence[dict[str, Any]], name: str = "pairs") -> Path:
        pack_pairs(rows, tmp_path / name, shard_samples=50, progress=False)
        return tmp_path / name

    return make


@pytest.fixture
def text_vector() -> Callable[[str], np.ndarray]:
    """Unit vector of a text."""

    def make(text: str) -> np.ndarray:
        found = np.array(embed_text(text))
        return found / np.linalg.norm(found)

    return make


@pytest.fixture
def text_features() -> Callable[[list[str]], Tensor]:
    """What the text tower makes of texts, (n, 12) float32, not normalised."""
    return lambda texts: torch.tensor([embed_text(text) for text in texts])


@pytest.fixture
def word_vector() -> Callable[..., np.ndarray]:
    """A vector (12,) float32 that points at known words, with noise by a seed."""

    def make(*words: str, seed: int | None = None, noise: float = 0.05) -> np.ndarray:
        found = np.array([*(float(word in words) for word in WORDS), 0.0, 0.0])
        if seed is not None:
            found += np.random.default_rng(seed).normal(0, noise, SIZE)
        return found.astype(np.float32)

    return make


@pytest.fixture
def nothing_is_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test in which encoding starts."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("encoding started before the error")

    monkeypatch.setattr("pairalign.evaluate.protocols.task.encode_pool", refuse)
    monkeypatch.setattr("pairalign.evaluate.protocols.classes.encode_texts", refuse)
