"""Bags of tokens: padding, divergence against loops, and frequencies that are not earned."""

from __future__ import annotations

import math

import pytest
import torch

from pairalign.align.reconstruct import build_decoder, token_error
from pairalign.align.reconstruct.tokens import token_bags
from pairalign.core.types import Signal

CAPTION = Signal("text", (4,), dtype="int64", range=(0, 9), axes=("token",))


def slow_token_error(logits: list, ids: list, vocabulary: int) -> float:
    """Divergence of the softmax from the bags, over that of the smoothed frequencies of all bags."""
    bags = []
    for row in ids:
        words = [word for word in row if word != 0]
        bags.append([words.count(v) / max(len(words), 1) for v in range(vocabulary)])
    share = [0.99 * sum(bag[v] for bag in bags) / len(bags) + 0.01 / vocabulary for v in range(vocabulary)]
    model = base = 0.0
    for row, bag in zip(logits, bags, strict=True):
        total = sum(math.exp(value) for value in row)
        for v, p in enumerate(bag):
            if p > 0:
                model += p * (math.log(p) - math.log(math.exp(row[v]) / total))
                base += p * (math.log(p) - math.log(share[v]))
    return model / base


def test_bags_leave_padding_out():
    bags = token_bags(torch.tensor([[3, 3, 5, 0], [0, 0, 0, 0]]), 6)
    assert torch.equal(bags[0], torch.tensor([0, 0, 0, 2 / 3, 0, 1 / 3]))
    assert torch.equal(bags[1], torch.zeros(6))


def test_large_vocabularies_are_folded():
    bags = token_bags(torch.tensor([[8192, 8195]]), 8192)
    assert bags[0, [0, 3]].tolist() == [0.5, 0.5]


def test_error_equals_the_slow_oracle():
    random = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 10, (6, 5), generator=random)
    ids[2] = 0  # an empty caption
    logits = torch.randn(6, 10, generator=random, dtype=torch.float64)
    bags = token_bags(ids, 10).double()
    expected = slow_token_error(logits.tolist(), ids.tolist(), 10)
    assert token_error(logits, bags).item() == pytest.approx(expected, rel=1e-6)
    assert torch.autograd.gradcheck(lambda x: token_error(x, bags), logits.requires_grad_())


def test_only_the_right_words_score_zero():
    bags = token_bags(torch.tensor([[1, 2], [3, 4], [3, 5]]), 6)
    assert token_error(torch.where(bags > 0, 0.0, -100.0), bags).item() == pytest.approx(0.0, abs=1e-6)


def test_frequencies_alone_score_one_and_a_speaking_latent_far_less():
    torch.manual_seed(0)
    content = torch.randint(2, 10, (512, 2))
    ids = torch.cat([torch.ones(512, 1, dtype=torch.int64), content, torch.zeros(512, 1, dtype=torch.int64)], 1)
    latent = torch.nn.functional.one_hot(content, 10).sum(1).float()
    decoder = build_decoder("tokens", CAPTION, latent=10)
    assert decoder.error(torch.zeros(512, 10), ids).item() == pytest.approx(1.0, abs=0.05)
    optimizer = torch.optim.Adam(decoder.parameters(), lr=1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        decoder.error(latent, ids).backward()
        optimizer.step()
    decoder.eval()
    assert decoder.error(latent, ids).item() < 0.15
    assert decoder(latent).shape == (512, 10)
