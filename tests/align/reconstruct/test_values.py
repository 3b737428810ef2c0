"""Vectors: every entry in units of its own spread, against loops; constant entries left out."""

from __future__ import annotations

import pytest
import torch

from pairalign.align.reconstruct import build_decoder, value_error
from pairalign.core.errors import ConfigError
from pairalign.core.types import Signal


def slow_value_error(predicted: list, target: list) -> float:
    rows, scores = len(target), []
    for e in range(len(target[0])):
        column = [row[e] for row in target]
        mean = sum(column) / rows
        variance = sum((value - mean) ** 2 for value in column) / (rows - 1)
        scores.append(sum((p[e] - t) ** 2 for p, t in zip(predicted, column, strict=True)) / rows / variance)
    return sum(scores) / len(scores)


def test_error_equals_the_slow_oracle():
    random = torch.Generator().manual_seed(0)
    predicted, target = (torch.randn(6, 4, dtype=torch.float64, generator=random) for _ in range(2))
    target *= torch.tensor([1.0, 10.0, 100.0, 0.1])
    expected = slow_value_error(predicted.tolist(), target.tolist())
    assert value_error(predicted, target).item() == pytest.approx(expected, rel=1e-12)
    assert torch.autograd.gradcheck(lambda p: value_error(p, target), predicted.requires_grad_())


def test_a_constant_entry_is_left_out():
    target, predicted = torch.randn(50, 3), torch.randn(50, 3)
    target[:, 1] = 4.0
    kept = value_error(predicted[:, [0, 2]], target[:, [0, 2]])
    torch.testing.assert_close(value_error(predicted, target), kept)
    assert value_error(predicted, torch.ones(50, 3)).item() == 0


def test_entries_of_all_units_are_learned():
    torch.manual_seed(0)
    latent = torch.randn(256, 3)
    target = (latent * torch.tensor([1e-3, 1.0, 1e4]) + torch.tensor([5.0, 0.0, -1e5])).unflatten(1, (3, 1))
    decoder = build_decoder("values", Signal("vector", (3, 1)), latent=3)
    optimizer = torch.optim.Adam(decoder.parameters(), lr=3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        decoder.error(latent, target).backward()
        optimizer.step()
    decoder.eval()
    assert decoder(latent).shape == target.shape
    residual = (decoder(latent) - target).square().mean(0) / target.var(0)
    assert residual.max().item() < 0.05


def test_free_sizes_are_refused():
    with pytest.raises(ConfigError, match=r"needs fixed sizes, the signal has shape \(None,\)"):
        build_decoder("values", Signal("vector", (None,)), latent=4)
