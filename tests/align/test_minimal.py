"""The minimal-latent penalty: its value, its gradient at zero, and that noise makes it bite."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from pairalign.align.minimal import active_dims, jitter, minimal_latent


def slow_minimal(shared: list, private: list, gate: list | None) -> float:
    gate = gate or [1.0] * len(shared[0])
    rows = [[w * z for w, z in zip(gate, s, strict=True)] + p for s, p in zip(shared, private, strict=True)]
    sizes = [math.sqrt(sum(row[d] ** 2 for row in rows) / len(rows)) for d in range(len(rows[0]))]
    return sum(sizes) / len(sizes)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize(("rows", "private"), [(1, 3), (6, 2), (5, 0)])
def test_value_equals_the_slow_oracle(gated, rows, private):
    random = torch.Generator().manual_seed(rows)
    shared, own = (torch.randn(rows, d, dtype=torch.float64, generator=random) for d in (4, private))
    gate = torch.rand(4, dtype=torch.float64, generator=random) if gated else None
    expected = slow_minimal(shared.tolist(), own.tolist(), None if gate is None else gate.tolist())
    assert minimal_latent(shared, own, gate).item() == pytest.approx(expected, rel=1e-3)
    assert torch.autograd.gradcheck(minimal_latent, (shared.requires_grad_(), own.requires_grad_(), gate))


def test_zero_latents_cost_nothing_and_have_a_finite_gradient():
    latent = torch.zeros(4, 3, requires_grad=True)
    value = minimal_latent(latent, latent[:, :0])
    value.backward()
    assert value.item() == pytest.approx(0.0, abs=1e-9)
    assert torch.equal(latent.grad, torch.zeros(4, 3))


def test_it_prefers_few_large_dimensions_to_many_small_ones():
    one = torch.zeros(8, 4)
    one[:, 0] = 2.0
    spread = torch.ones(8, 4)
    assert one.square().sum() == spread.square().sum()
    nothing = torch.zeros(8, 0)
    assert minimal_latent(one, nothing) < minimal_latent(spread, nothing) / 1.9


def test_jitter_has_the_stated_size_and_repeats():
    latent = torch.zeros(4000, 4)
    noisy = jitter(latent, 0.5, torch.Generator().manual_seed(0))
    assert noisy.std().item() == pytest.approx(0.5, rel=0.02)
    assert torch.equal(noisy, jitter(latent, 0.5, torch.Generator().manual_seed(0)))
    assert jitter(latent, 0.0) is latent


def test_active_dims():
    latents = torch.randn(500, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 0.1, 2.0, 0.0])
    latents[:, 3] = 7.0  # constant: large, but it says nothing
    assert active_dims(latents) == [0, 2]
    assert active_dims(latents, threshold=0.05) == [0, 1, 2]


@pytest.mark.parametrize(("noise", "weight", "expected"), [(0.5, 0.3, 2), (0.5, 0.0, 8), (0.0, 0.3, 0)])
def test_with_noise_only_the_needed_dimensions_stay(noise, weight, expected):
    """Two numbers through eight dimensions: two are enough, without the penalty all are used, and without
    noise the two shrink below any threshold, as nothing stops them."""
    torch.manual_seed(0)
    encode, decode = nn.Linear(2, 8, bias=False), nn.Linear(8, 2)
    optimizer = torch.optim.Adam([*encode.parameters(), *decode.parameters()], lr=0.02)
    for _ in range(600):
        x = torch.randn(128, 2)
        z = encode(x)
        loss = (decode(jitter(z, noise)) - x).square().mean() + weight * minimal_latent(z, z[:, :0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert len(active_dims(encode(torch.randn(1000, 2)), threshold=0.5)) == expected
