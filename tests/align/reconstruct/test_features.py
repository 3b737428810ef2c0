"""Frozen features: one squared error that is the cosine error, against loops."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from pairalign.align.reconstruct import build_decoder, feature_error
from pairalign.core.types import Signal


def slow_feature_error(predicted: list, target: list) -> float:
    unit = [[value / math.sqrt(sum(v * v for v in row)) for value in row] for row in target]
    rows, width = len(unit), len(unit[0])
    mean = [sum(row[d] for row in unit) / rows for d in range(width)]
    variance = sum((row[d] - mean[d]) ** 2 for row in unit for d in range(width)) / (rows - 1)
    error = sum((p[d] - row[d]) ** 2 for p, row in zip(predicted, unit, strict=True) for d in range(width)) / rows
    return error / variance


def test_error_equals_the_slow_oracle():
    random = torch.Generator().manual_seed(0)
    predicted, target = (torch.randn(6, 5, dtype=torch.float64, generator=random) for _ in range(2))
    expected = slow_feature_error(predicted.tolist(), target.tolist())
    assert feature_error(predicted, target).item() == pytest.approx(expected, rel=1e-12)
    assert torch.autograd.gradcheck(lambda p: feature_error(p, target), predicted.requires_grad_())


def test_for_unit_vectors_it_ranks_by_cosine():
    random = torch.Generator().manual_seed(0)
    target = F.normalize(torch.randn(1, 8, generator=random), dim=1)
    guesses = F.normalize(torch.randn(50, 8, generator=random), dim=1)
    errors = torch.stack([feature_error(guess[None], target, torch.tensor(1.0)) for guess in guesses])
    torch.testing.assert_close(8 * errors, 2 - 2 * (guesses @ target.T)[:, 0])


def test_length_of_the_target_does_not_count():
    target, predicted = torch.randn(9, 4), torch.randn(9, 4)
    torch.testing.assert_close(feature_error(predicted, 7 * target), feature_error(predicted, target))


def test_a_large_common_part_earns_nothing():
    """Features of a frozen tower all point one way; predicting only that must still score about 1."""
    torch.manual_seed(0)
    target = 10 + torch.randn(512, 16)
    decoder = build_decoder("features", Signal("text", (8,), dtype="int64"), latent=4, features=16)
    score = decoder.error(torch.zeros(512, 4), target).item()
    assert decoder(torch.zeros(2, 4)).shape == (2, 16)
    assert score == pytest.approx(1.0, abs=0.05)
