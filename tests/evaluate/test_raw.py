"""One raw sample, or a list, through an aligned run: the vectors of evaluation, and probabilities of words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from conftest import TinyVector
from pairalign.align.model import PairAligner
from pairalign.align.run import AlignRun
from pairalign.core.config import AlignConfig, LatentConfig, LossConfig, load_config
from pairalign.core.encoder import Encoder
from pairalign.core.errors import ConfigError, DataError, SignalError
from pairalign.core.types import Features, Signal
from pairalign.data.graph import PairGraph
from pairalign.data.pack import pack_pairs
from pairalign.evaluate.measure import encode_texts
from pairalign.evaluate.pool import encode_pool
from pairalign.evaluate.zero_shot import class_embeddings

WORDS = ["wood", "metal", "felt"]


class Letters(Encoder):
    """A text by how often it holds each of ten letters."""

    signal = Signal("text", (10,))

    def __init__(self) -> None:
        super().__init__(12)
        self.net = nn.Linear(10, 12)

    def preprocess(self, raw: Any) -> Tensor:
        return torch.tensor([float(raw.count(letter)) for letter in "aeilmoswdf"])

    def forward(self, batch: Tensor) -> Features:
        pooled = self.net(batch)
        return Features(pooled[:, None], pooled)


@pytest.fixture(scope="module")
def aligned() -> AlignRun:
    """A glove that is paired with text, a camera that only the glove joins to it, and a lone sensor; not trained."""
    torch.manual_seed(0)
    edges = (("glove", "text"), ("camera", "glove"), ("lone", "other"))
    encoders: dict[str, Encoder] = {name: TinyVector() for name in ("glove", "camera", "lone", "other")}
    encoders["text"] = Letters()
    graph, sizes = PairGraph(tuple(encoders), edges), LatentConfig(shared=8, private=4, hidden=16)
    told = {name: {"encoder": "tiny_vector"} for name in encoders}
    config = load_config(AlignConfig, {"modalities": told, "edges": [], "out": "run"})
    return AlignRun(Path("run"), config, PairAligner(encoders, graph, sizes, LossConfig(reconstruct=0)).eval())


@pytest.fixture(scope="module")
def samples() -> list[np.ndarray]:
    return list(np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32))


def test_a_sample_gets_the_vector_of_evaluation(aligned: AlignRun, samples: list[np.ndarray], tmp_path: Path) -> None:
    rows = [{"glove": value, "text": f"a {WORDS[n % 3]}", "split": "test"} for n, value in enumerate(samples)]
    pack_pairs(rows, tmp_path / "s", units={"glove": {"unit": "N"}}, seed=None, progress=False)
    pool = encode_pool(aligned, tmp_path / "s", progress=False)
    many = aligned.embed("glove", samples)
    assert torch.allclose(many, torch.nn.functional.normalize(pool.latents["glove"].shared, dim=1), atol=1e-6)
    np.save(tmp_path / "one.npy", samples[0])
    for one in (samples[0], tmp_path / "one.npy", str(tmp_path / "one.npy"), samples[0].tolist()):
        assert torch.allclose(aligned.embed("glove", one), many[0], atol=1e-6)
    gated = aligned.embed("glove", samples, toward="text") @ aligned.embed("text", ["a wood"], toward="glove").T
    assert gated.shape == (5, 1)
    assert aligned.embed("text", "a wood").shape == (8,)  # a string is a text here, and no path


def test_words_get_the_probabilities_of_zero_shot(aligned: AlignRun, samples: list[np.ndarray]) -> None:
    found = aligned.classify("glove", samples, WORDS, templates=["a {}"])
    assert isinstance(found, list)
    vectors = class_embeddings(lambda p: encode_texts(aligned.aligner, "text", "glove", p), WORDS, ["a {}"])
    scale = float(aligned.aligner.scales["glove-text"]())
    wanted = (scale * aligned.embed("glove", samples, toward="text").double() @ vectors.T).softmax(1)
    assert [list(one) for one in found] == [WORDS] * 5
    assert torch.allclose(torch.tensor([list(one.values()) for one in found], dtype=torch.float64), wanted, atol=1e-6)
    one = aligned.classify("camera", samples[0], WORDS)  # over the glove
    assert isinstance(one, dict)
    assert sum(one.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("modality", "sample", "words", "options", "error", "message"),
    [
        ("glvoe", [0.0] * 6, WORDS, {}, ConfigError, r"modality 'glvoe' is not aligned. Did you mean 'glove'"),
        ("glove", [0.0] * 7, WORDS, {}, SignalError, r"glove sample 0: shape \(7,\) is not the declared"),
        ("glove", "no.npy", WORDS, {}, DataError, r"'no.npy'"),
        ("glove", [], WORDS, {}, DataError, r"samples=\[\] of 'glove': give at least one"),
        ("glove", [0.0] * 6, ["wood"], {}, DataError, r"words=\['wood'\]: give two or more different words"),
        ("glove", [0.0] * 6, "wood", {}, DataError, r"words=\['wood'\]: give two or more different words"),
        ("glove", [0.0] * 6, WORDS, {"text": "camera"}, ConfigError, r"text='camera': is no text modality"),
        ("lone", [0.0] * 6, WORDS, {}, ConfigError, r"classify 'lone': pairs join it to no text"),
    ],
)
def test_what_cannot_be_classified_is_refused(
    aligned: AlignRun, modality: str, sample: Any, words: Any, options: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        aligned.classify(modality, sample, words, **options)


def test_vectors_toward_what_no_pairs_join_are_refused(aligned: AlignRun, samples: list[np.ndarray]) -> None:
    with pytest.raises(ConfigError, match="no path of pairs joins 'glove' and 'lone'"):
        aligned.embed("glove", samples, toward="lone")
    with pytest.raises(ConfigError, match=r"modality 'txt' is not aligned. Did you mean 'text'"):
        aligned.embed("glove", samples, toward="txt")
