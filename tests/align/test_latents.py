"""Heads: sizes, standardised shared latents, and a frozen tower's own space."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from pairalign.align.latents import AnchorHead, LatentHead


@pytest.mark.parametrize("hidden", [0, 16])
def test_a_head_gives_both_parts(hidden: int) -> None:
    latents = LatentHead(6, 4, 3, hidden)(torch.randn(5, 6))
    assert latents.shared.shape == (5, 4)
    assert latents.private.shape == (5, 3)


def test_standardise_gives_each_shared_dimension_mean_0_and_variance_1() -> None:
    torch.manual_seed(0)
    head = LatentHead(6, 4, 3, 16, standardise=True)
    pooled = 3 + 5 * torch.randn(64, 6)
    plain_shared, plain_private = head.map(pooled).split([4, 3], dim=1)
    latents = head(pooled)
    wanted = (plain_shared - plain_shared.mean(0)) / plain_shared.std(0, unbiased=False)
    torch.testing.assert_close(latents.shared, wanted, rtol=1e-3, atol=1e-3)
    assert latents.private.equal(plain_private)
    for _ in range(200):
        head(pooled)
    torch.testing.assert_close(head.eval()(pooled[:1]).shared, wanted[:1], rtol=0.02, atol=0.02)


def test_an_anchor_head_is_the_centred_unit_space_turned() -> None:
    features = 2 + torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    head = AnchorHead(6, 6, 2)
    head.fit(features)
    shared, private = head(features)
    unit = F.normalize(features, dim=1)
    centred = unit - unit.mean(0)
    torch.testing.assert_close(shared.mean(0), torch.zeros(6), atol=1e-6, rtol=0)
    torch.testing.assert_close(shared @ shared.T, centred @ centred.T, atol=1e-5, rtol=1e-4)  # a rotation
    assert (shared.var(0).diff() <= 1e-7).all()  # principal directions first
    assert private.equal(torch.zeros(40, 2))
    assert not list(head.parameters())


def test_an_anchor_head_keeps_the_first_directions_and_pads_with_zeros() -> None:
    features = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    whole, few, many = (AnchorHead(6, size, 1) for size in (6, 3, 9))
    for head in (whole, few, many):
        head.fit(features)
    shared = whole(features).shared
    torch.testing.assert_close(few(features).shared, shared[:, :3])
    torch.testing.assert_close(many(features).shared, F.pad(shared, (0, 3)))
