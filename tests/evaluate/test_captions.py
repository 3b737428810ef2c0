"""Several captions of a sample: each asks and is found by itself, all of one sample are right answers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from captioned import FIVE, config, pack

from pairalign.align.latents import Latents
from pairalign.align.model import PairAligner
from pairalign.core.config import LatentConfig, LossConfig
from pairalign.data.graph import PairGraph
from pairalign.evaluate.captions import Captions, captions_of, joined
from pairalign.evaluate.compared import compared
from pairalign.evaluate.pool import EvalPool


def pool(ids: list[list[int]], images: list[int]) -> EvalPool:
    """Captions by sample, as content ids, whose vectors are one-hot of their sample's image."""
    rows = torch.eye(8)
    owner = [n for n, own in enumerate(ids) for _ in own]
    shared = rows[[images[n] for n in owner]]
    captions = captions_of(shared, ids)
    latents = {"image": Latents(rows[images], rows[images]), "text": Latents(rows[images], rows[images])}
    content = {"image": torch.tensor(images), "text": torch.arange(len(ids))}
    return EvalPool("p", [f"k{n}" for n in range(len(ids))], latents, content, {}, None, None, [], [], True,
                    {"text": captions})  # fmt: skip


@pytest.fixture
def aligner(tiny_vector: str) -> PairAligner:
    from pairalign.core.registry import create_encoder

    encoders = {name: create_encoder(tiny_vector) for name in ("image", "text")}
    sizes, loss = LatentConfig(shared=8, private=8, hidden=8), LossConfig(gates=False)
    return PairAligner(encoders, PairGraph(("image", "text"), (("image", "text"),)), sizes, loss)


def test_relevance_is_that_of_a_slow_oracle(aligner: PairAligner) -> None:
    ids, images = [[1, 2, 3], [4], [2, 5], [6, 7, 8, 9]], [0, 1, 2, 0]
    found = compared(aligner, pool(ids, images), ("image", "text"))
    flat = [(n, one) for n, own in enumerate(ids) for one in own]
    expected = torch.tensor([[images[q] == images[n] or one in ids[q] for n, one in flat] for q in range(len(ids))])
    assert found.relevant[slice(None)].equal(expected)
    back = compared(aligner, pool(ids, images), ("text", "image"))
    assert back.relevant[slice(None)].equal(expected.T)
    assert found.clusters == ([0, 1, 2, 3], [n for n, _ in flat])
    assert found.b.shape == (10, 8)


def test_retrieval_counts_all_captions(aligner: PairAligner) -> None:
    from pairalign.evaluate.measure import measure_pair

    made = pool([[1, 2, 3, 4, 5], [6, 7], [8]], [0, 1, 2])
    record = measure_pair(aligner, made, ("image", "text"), ("image", "text"))
    forward, backward = record["retrieval"]
    assert (forward.n_queries, forward.n_targets) == (3, 8)
    assert (backward.n_queries, backward.n_targets) == (8, 3)
    assert forward.recall[1].value == backward.recall[1].value == 1.0
    wrong = made.captions["text"]._replace(shared=made.captions["text"].shared.roll(1, 0))
    broken = EvalPool(**{**vars(made), "captions": {"text": Captions(*wrong)}})
    _, backward = measure_pair(aligner, broken, ("image", "text"), ("image", "text"))["retrieval"]
    assert backward.recall[1].value == pytest.approx(5 / 8)  # of each run of captions the first is another sample's


def test_pools_are_joined_with_all_their_captions(aligner: PairAligner) -> None:
    ids, images = [[1, 2, 3], [4], [2, 5], [6, 7, 8, 9]], [0, 1, 2, 0]
    one, other = pool(ids[:2], images[:2]), pool(ids[2:], images[2:])
    whole = pool(ids, images).captions["text"]
    for found, expected in zip(joined([one.captions["text"], other.captions["text"]]), whole, strict=True):
        assert {tuple(row) for row in found.reshape(len(found), -1).tolist()} == {
            tuple(row) for row in expected.reshape(len(expected), -1).tolist()
        }
    single = EvalPool(**{**vars(other), "captions": {}})
    assert joined([one.captions["text"], single.captions_of("text")]).owner.tolist() == [0, 0, 0, 1, 2, 3]


def test_a_pool_is_encoded_with_every_caption(tmp_path: Path) -> None:
    from pairalign.align.run import align_pairs
    from pairalign.evaluate.pool import encode_pool

    pack(tmp_path / "s", [FIVE, FIVE[:2], "one alone", FIVE[1:]])
    run = align_pairs(config(tmp_path), progress=False)
    found = encode_pool(run, tmp_path / "s", "train", progress=False)
    captions = found.captions["text"]
    texts = {"k00": FIVE, "k01": FIVE[:2], "k02": ["one alone"], "k03": FIVE[1:]}
    encoder = run.aligner.encoder("text")
    for row, key in enumerate(found.keys):
        with torch.no_grad():
            expected = run.aligner.encode("text", encoder.collate([encoder.preprocess(t) for t in texts[key]])).shared
        torch.testing.assert_close(captions.shared[captions.owner == row], expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(found.latents["text"].shared[row], expected[0], atol=1e-5, rtol=0)
