"""Zero-shot classification with an encoder of words that is known by heart."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pairalign.core.errors import ConfigError, DataError
from pairalign.evaluate.zero_shot import TEMPLATES, class_embeddings, classify, templates_for, through_known

CLASSES = ["cup", "lamp", "chair", "bed"]


def encode_text(prompts: list[str]) -> Tensor:
    """One-hot of the class in the prompt, plus a component for the length of the prompt; not normalised."""
    rows = [[3.0 * (name in prompt) for name in CLASSES] + [0.01 * len(prompt)] for prompt in prompts]
    return torch.tensor(rows)


def test_class_embeddings_average_unit_vectors_of_all_prompts() -> None:
    forms = ["a {}.", "the {} over there."]
    found = class_embeddings(encode_text, CLASSES, forms, batch_size=3)
    for row, name in zip(found, CLASSES, strict=True):
        units = [F.normalize(encode_text([form.format(name)]).double()[0], dim=0) for form in forms]
        torch.testing.assert_close(row, F.normalize(sum(units) / 2, dim=0))
    torch.testing.assert_close(found.norm(dim=1), torch.ones(4).double())


@pytest.mark.parametrize("kind", sorted(TEMPLATES))
def test_every_built_in_template_holds_the_class_name_once(kind: str) -> None:
    assert len(set(templates_for(kind))) == len(templates_for(kind)) > 0
    assert all(form.count("{}") == 1 for form in templates_for(kind))
    assert class_embeddings(encode_text, CLASSES, kind).shape == (4, 5)


def slow_accuracy(x: Tensor, truth: list[int], vectors: Tensor, k: int) -> tuple[float, float]:
    right: dict[int, list[bool]] = {}
    for row, label in zip(x, truth, strict=True):
        scores = [float(F.cosine_similarity(row, v, dim=0)) for v in vectors]
        best = sorted(range(len(scores)), key=lambda c: -scores[c])[:k]
        right.setdefault(label, []).append(label in best)
    flat = [hit for hits in right.values() for hit in hits]
    means = [sum(hits) / len(hits) for hits in right.values()]
    return sum(flat) / len(flat), sum(means) / len(means)


def test_accuracy_matches_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(6, 4, generator=generator)
    truth = [0] * 30 + [1] * 10 + [2] * 5 + [4] * 3
    x = vectors[truth] + torch.randn(len(truth), 4, generator=generator)
    found = classify(x, truth, vectors, list("abcdef"))
    for k in (1, 3, 5):
        overall, mean = slow_accuracy(x, truth, vectors, k)
        assert found.overall[k].value == pytest.approx(overall)
        assert found.class_mean[k].value == pytest.approx(mean)
        assert found.overall[k].chance == found.class_mean[k].chance == k / 6
        assert found.class_mean[k].low <= mean <= found.class_mean[k].high
    assert found.majority == 30 / 48
    assert found.confusion.sum(1).tolist() == [30, 10, 5, 0, 3, 0]
    assert float(found.confusion.trace()) / 48 == pytest.approx(found.overall[1].value)


def test_collapsed_embeddings_score_chance() -> None:
    found = classify(torch.ones(20, 3), [i % 4 for i in range(20)], torch.ones(4, 3), CLASSES)
    assert found.overall[1].value == pytest.approx(0.25)
    assert found.overall[3].value == pytest.approx(0.75)
    assert found.overall[1].at_chance
    assert set(found.overall) == {1, 3}  # 5 is more than the classes
    torch.testing.assert_close(found.confusion, torch.full((4, 4), 1.25).double())


def test_groups_widen_the_interval() -> None:
    vectors, truth = torch.eye(4), [i % 4 for i in range(80)]
    x = vectors[[t if i // 20 else 3 for i, t in enumerate(truth)]]
    plain = classify(x, truth, vectors, CLASSES).overall[1]
    grouped = classify(x, truth, vectors, CLASSES, groups=[i // 20 for i in range(80)]).overall[1]
    assert plain.value == grouped.value
    assert grouped.high - grouped.low > plain.high - plain.low


def test_to_dict_holds_plain_numbers() -> None:
    record = classify(torch.eye(4), [0, 1, 2, 3], torch.eye(4), CLASSES).to_dict()
    assert record["overall"]["top1"]["value"] == 1
    assert record["classes"] == CLASSES
    assert record["confusion"][2] == [0, 0, 1, 0]


def test_bad_input_gives_one_clear_error() -> None:
    with pytest.raises(ConfigError, match=r"'pionts' do not exist\. Did you mean 'points'"):
        templates_for("pionts")
    with pytest.raises(ConfigError, match="exactly once"):
        class_embeddings(encode_text, CLASSES, ["a {}", "a thing"])
    with pytest.raises(DataError, match="at least one class"):
        class_embeddings(encode_text, [])
    with pytest.raises(DataError, match="one label per embedding"):
        classify(torch.eye(4), [0, 1], torch.eye(4), CLASSES)
    with pytest.raises(DataError, match="labels go from 0 to 4"):
        classify(torch.eye(4), [0, 1, 2, 4], torch.eye(4), CLASSES)


def test_a_sample_is_placed_between_the_known_classes_that_it_resembles() -> None:
    generator = torch.Generator().manual_seed(0)
    known, x = torch.randn(5, 3, generator=generator), torch.randn(7, 3, generator=generator)
    found = through_known(x, known, temperature=0.3)
    for row, sample in zip(found, x, strict=True):
        weights = [math.exp(float(F.cosine_similarity(sample, k, dim=0)) / 0.3) for k in known]
        expected = sum(w * F.normalize(k.double(), dim=0) for w, k in zip(weights, known, strict=True)) / sum(weights)
        torch.testing.assert_close(row, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ConfigError, match=r"temperature=0"):
        through_known(x, known, temperature=0.0)


def test_a_new_name_is_found_through_the_known_ones_where_the_encoder_never_learned_its_direction() -> None:
    """Samples of a new class light up its two relatives, but nothing of the direction that is the name's alone."""
    known = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
    new = torch.tensor([[1.0, 1.0, 0.0, 0.4], [0.0, 0.6, 1.0, -0.4]])
    samples = torch.tensor([[0.9, 0.8, 0.0, -3.0], [0.0, 0.7, 0.9, 3.0]])
    assert classify(samples, [0, 1], new, ["x", "y"]).overall[1].value == 0
    assert classify(through_known(samples, known), [0, 1], new, ["x", "y"]).overall[1].value == 1
