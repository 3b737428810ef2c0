"""The aligner puts the terms together as DESIGN's formula says, and gates decide what may pass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from conftest import TinyVector
from pairalign.align.contrastive import info_nce
from pairalign.align.latents import AnchorHead
from pairalign.align.minimal import jitter, minimal_latent
from pairalign.align.model import PairAligner, Side, build_aligner
from pairalign.align.partial import gated_cosine, gated_euclidean
from pairalign.align.relation import relation_loss
from pairalign.align.run import build_datasets
from pairalign.core.config import AlignConfig, LatentConfig, LossConfig, load_config
from pairalign.core.errors import ConfigError
from pairalign.core.registry import create_encoder
from pairalign.data.graph import PairGraph
from pairalign.data.shards import read_samples

GRAPH = PairGraph(("a", "b", "c"), (("a", "b"), ("b", "c")))
LOSS = LossConfig(noise=0.0)


def make(loss: LossConfig = LOSS) -> PairAligner:
    torch.manual_seed(0)
    return PairAligner({m: TinyVector() for m in "abc"}, GRAPH, LatentConfig(8, 4, 16), loss)


def batch(n: int = 10, seed: int = 1) -> tuple[Side, Side]:
    g = torch.Generator().manual_seed(seed)
    return tuple(Side(torch.randn(n, 6, generator=g), torch.arange(n)) for _ in "ab")  # type: ignore[return-value]


def test_total_is_the_weighted_sum_of_the_terms() -> None:
    aligner, (a, b) = make(replace(LOSS, contrast=2.0, reconstruct=3.0, minimal=5.0, gate=7.0)), batch()
    terms = aligner.edge_terms(("a", "b"), a, b)
    assert set(terms) == {"contrast", "reconstruct", "minimal", "gate"}
    by_hand = 2 * terms["contrast"] + 3 * terms["reconstruct"] + 5 * terms["minimal"] + 7 * terms["gate"]
    torch.testing.assert_close(aligner.total(terms), by_hand)


def test_each_term_can_be_switched_off_and_each_reaches_the_encoders() -> None:
    a, b = batch()
    for name in ("contrast", "reconstruct", "minimal"):
        alone = {n: float(n == name) for n in ("contrast", "reconstruct", "minimal", "gate")}
        aligner = make(replace(LOSS, **alone))
        aligner.total(aligner.edge_terms(("a", "b"), a, b)).backward()
        for m in "ab":
            grads = [p.grad for p in aligner.encoder(m).parameters()]
            assert all(g is not None and g.abs().sum() > 0 for g in grads), name
        assert all(p.grad is None for p in aligner.encoder("c").parameters())


def test_contrast_term_is_info_nce_of_the_gated_shared_latents() -> None:
    aligner, (a, b) = make(), batch()
    with torch.no_grad():
        aligner.gates.logits["a~b"].copy_(torch.linspace(-3, 3, 8))
    za, zb = aligner.encode("a", a.value).shared, aligner.encode("b", b.value).shared
    ga, gb = gated_cosine(aligner.gates(("a", "b")), za, zb)
    expected = info_nce(ga, gb, aligner.scales["a-b"]())
    torch.testing.assert_close(aligner.edge_terms(("a", "b"), a, b)["contrast"], expected)


def test_euclidean_contrast_compares_noisy_latents_in_training_only() -> None:
    aligner, (a, b) = make(replace(LOSS, similarity="euclidean", noise=0.5)), batch()
    za, zb = aligner.encode("a", a.value).shared, aligner.encode("b", b.value).shared
    torch.manual_seed(1)
    noisy = gated_euclidean(aligner.gates(("a", "b")), jitter(za, 0.5), jitter(zb, 0.5))
    scale = aligner.scales["a-b"]()
    torch.manual_seed(1)
    found = aligner.train().edge_terms(("a", "b"), a, b)["contrast"]
    torch.testing.assert_close(found, info_nce(*noisy, scale))
    plain = gated_euclidean(aligner.gates(("a", "b")), za, zb)
    torch.testing.assert_close(aligner.eval().edge_terms(("a", "b"), a, b)["contrast"], info_nce(*plain, scale))
    assert not torch.allclose(found, info_nce(*plain, scale))


def test_gate_and_minimal_terms_are_those_of_the_edge_alone() -> None:
    aligner, (a, b) = make(replace(LOSS, gate=1.0, minimal=1.0)), batch()
    with torch.no_grad():
        aligner.gates.logits["a~b"].copy_(torch.linspace(-3, 3, 8))
    terms = aligner.edge_terms(("a", "b"), a, b)
    torch.testing.assert_close(terms["gate"], aligner.gates(("a", "b")).mean())
    sizes = [minimal_latent(*aligner.encode(m, side.value)) for m, side in (("a", a), ("b", b))]
    torch.testing.assert_close(terms["minimal"], (sizes[0] + sizes[1]) / 2)
    terms["gate"].backward()
    assert aligner.gates.logits["a~b"].grad.abs().sum() > 0
    assert aligner.gates.logits["b~c"].grad is None


def test_relation_term_compares_with_the_frozen_side_and_only_where_there_is_one() -> None:
    a, b = batch()
    torch.manual_seed(0)
    frozen, graph = TinyVector(), PairGraph(("a", "b"), (("a", "b"),))
    frozen.tune("none")
    loss = replace(LOSS, relation=1.0, relation_temperature=0.3)
    aligner = PairAligner({"a": frozen, "b": TinyVector()}, graph, loss=loss)
    za, zb = aligner.encode("a", a.value).shared, aligner.encode("b", b.value).shared
    ga, gb = gated_cosine(aligner.gates(("a", "b")), za, zb)
    unit = F.normalize(frozen(a.value).pooled, dim=1)
    expected = relation_loss(ga, gb, aligner.scales["a-b"](), unit - unit.mean(0), temperature=0.3)
    terms = aligner.edge_terms(("a", "b"), a, b)
    torch.testing.assert_close(terms["relation"], expected)
    assert expected > 0.1
    trained = PairAligner({m: TinyVector() for m in "ab"}, graph, loss=loss)
    assert "relation" not in trained.edge_terms(("a", "b"), a, b)


def test_reconstruction_reads_no_shared_dimension_that_no_edge_gates() -> None:
    aligner, (a, b) = make(), batch()
    with torch.no_grad():
        for name in ("a~b", "b~c"):
            aligner.gates.logits[name][0] = -50.0
    before = aligner.edge_terms(("a", "b"), a, b)["reconstruct"]
    with torch.no_grad():
        for m in "ab":
            aligner.heads[m].map[-1].weight[0] += 10.0
    torch.testing.assert_close(aligner.edge_terms(("a", "b"), a, b)["reconstruct"], before)
    with torch.no_grad():
        for m in "ab":
            aligner.heads[m].map[-1].weight[-1] += 10.0  # a private dimension does reach the decoder
    assert not torch.isclose(aligner.edge_terms(("a", "b"), a, b)["reconstruct"], before)


@pytest.mark.parametrize("detach", [True, False])
def test_detached_reconstruction_reads_the_shared_latents_but_does_not_shape_them(detach: bool) -> None:
    aligner, (a, b) = make(replace(LOSS, detach=detach)), batch()
    aligner.edge_terms(("a", "b"), a, b)["reconstruct"].backward()
    shared, private = aligner.heads["a"].map[-1].weight.grad.split([8, 4])
    assert bool(shared.abs().sum() > 0) is not detach
    assert private.abs().sum() > 0
    decoder = next(p for p in aligner.decoders["a"].parameters() if p.ndim == 2)
    assert (decoder.grad[:, :8].abs().sum(0) > 0).all()


def test_emergent_embedding_uses_the_product_of_gates() -> None:
    aligner, (a, _) = make(), batch()
    with torch.no_grad():
        aligner.gates.logits["a~b"].copy_(torch.tensor([50.0] * 4 + [-50.0] * 4))
        aligner.gates.logits["b~c"].copy_(torch.tensor([-50.0] * 2 + [50.0] * 6))
    z = aligner.embed("a", a.value, "c")
    assert (z[:, [0, 1, 4, 5, 6, 7]].abs() < 1e-3).all()
    torch.testing.assert_close(z.norm(dim=1), torch.ones(10), atol=1e-3, rtol=0)


def test_cached_features_give_the_same_terms_for_a_frozen_tower() -> None:
    aligner, (a, b) = make(), batch()
    frozen = TinyVector()
    frozen.tune("none")
    torch.manual_seed(0)
    aligner = PairAligner({"a": frozen, "b": TinyVector()}, PairGraph(("a", "b"), (("a", "b"),)), loss=LOSS)
    assert aligner.decoders["a"].kind == "features"
    cached = Side(frozen(a.value).pooled, a.ids, cached=True)
    for one, two in zip(
        aligner.edge_terms(("a", "b"), a, b).values(), aligner.edge_terms(("a", "b"), cached, b).values(), strict=True
    ):
        torch.testing.assert_close(one, two)


def test_unknown_modality_and_unjoined_pair_are_clear() -> None:
    aligner = make()
    with pytest.raises(ConfigError, match="'d' is not aligned"):
        aligner.encode("d", torch.zeros(1, 6))
    lonely = PairAligner({m: TinyVector() for m in "ab"}, PairGraph(("a", "b"), (("a", "b"),)))
    with pytest.raises(ConfigError, match="no path of pairs joins"):
        lonely.path_gate("a", "a")


def test_anchor_head_knows_the_captions_of_every_edge(
    align_settings: dict[str, Any], pair_folder: Path, tiny_vector: str
) -> None:
    """Mean and directions come from all folders of the modality, not from the last one."""
    align_settings["modalities"]["b"] |= {"tune": "none", "head": "anchor"}
    config = load_config(AlignConfig, align_settings, ["latent.private=0", "loss.gates=false"])
    torch.manual_seed(0)
    aligner = build_aligner(config)
    build_datasets(config, aligner, progress=False)
    tower = aligner.encoder("b")
    raw = [sample.values["b"] for edge in ("a-b", "b-c") for sample in read_samples(pair_folder / edge, "train", ["b"])]
    unit = F.normalize(tower(torch.stack([tower.preprocess(value) for value in raw])).pooled.detach(), dim=1)
    head = aligner.heads["b"]
    assert isinstance(head, AnchorHead)
    assert len(unit) == 192
    torch.testing.assert_close(head.mean, unit.mean(0))
    values, vectors = torch.linalg.eigh((unit - unit.mean(0)).T @ (unit - unit.mean(0)))  # ascending
    torch.testing.assert_close((head.basis[:, 0] @ vectors[:, -1]).abs(), torch.ones(()), atol=1e-3, rtol=0)
    kept = (unit - unit.mean(0)) @ head.basis
    torch.testing.assert_close(kept.square().sum(0), values.flip(0)[: kept.shape[1]], atol=1e-3, rtol=1e-3)


def test_bytes_and_their_floats_give_the_same_terms() -> None:
    torch.manual_seed(0)
    encoders = {
        "image": create_encoder("openclip_image", config="tiny-vit"),
        "touch": create_encoder("touch_cnn", size=16),
    }
    aligner = PairAligner(encoders, PairGraph(("image", "touch"), (("image", "touch"),)), loss=LossConfig()).eval()
    sides = [
        Side(torch.randint(0, 256, (4, *encoder.signal.shape), dtype=torch.uint8), torch.arange(4))
        for encoder in encoders.values()
    ]
    floats = [
        Side(encoder.as_float(side.value), side.ids) for encoder, side in zip(encoders.values(), sides, strict=True)
    ]
    one, other = (aligner.edge_terms(("image", "touch"), *pair) for pair in (sides, floats))
    assert {"contrast", "reconstruct"} <= set(one)
    assert all(one[name].equal(other[name]) for name in one)
