"""The relational term against a slow oracle, and what it is for: nearness is copied."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from pairalign.align.contrastive import info_nce
from pairalign.align.relation import relation_loss
from pairalign.core.errors import ContrastiveError


def oracle(a: torch.Tensor, b: torch.Tensor, scale: float, c: torch.Tensor, ids: list[int], t: float) -> float:
    """Loops over one row and one direction at a time, in double precision."""
    n, total = len(a), 0.0
    for x, y in ((a, b), (b, a)):
        for i in range(n):
            kept = [j for j in range(n) if j == i or ids[i] != ids[j]]
            near = [math.exp(float(c[i] @ c[j] / c[i].norm() / c[j].norm()) / t) for j in kept]
            seen = [math.exp(scale * float(x[i] @ y[j])) for j in kept]
            total -= sum(q / sum(near) * math.log(p / sum(seen)) for q, p in zip(near, seen, strict=True))
    return total / (2 * n)


def batch(n: int = 7) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    a, b = (F.normalize(torch.randn(n, 5, dtype=torch.float64), dim=1) for _ in "ab")
    return a, b, torch.randn(n, 9, dtype=torch.float64)


def test_value_against_the_oracle_with_and_without_duplicates() -> None:
    a, b, c = batch()
    for ids in ([0, 1, 2, 3, 4, 5, 6], [0, 0, 1, 2, 2, 2, 3]):
        found = relation_loss(a, b, 3.0, c, ids_b=torch.tensor(ids), temperature=0.2)
        assert float(found) == pytest.approx(oracle(a, b, 3.0, c, ids, 0.2), abs=1e-9)


def test_with_a_cold_anchor_it_is_info_nce() -> None:
    a, b, _ = batch()
    apart = torch.eye(len(a), dtype=torch.float64)
    found = relation_loss(a, b, 3.0, apart, temperature=0.001)
    torch.testing.assert_close(found, info_nce(a, b, torch.tensor(3.0, dtype=torch.float64)))


def test_gradient_is_right_and_finite_where_everything_is_a_duplicate() -> None:
    a, b, c = batch(4)
    ids = torch.tensor([0, 0, 1, 1])
    a.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: relation_loss(x, b, 2.0, c, ids_b=ids), (a,))
    loss = relation_loss(a, b, 2.0, c, ids_b=torch.zeros(4))
    loss.backward()
    assert a.grad is not None
    assert a.grad.isfinite().all()


def test_sizes_that_do_not_fit() -> None:
    a, b, c = batch()
    with pytest.raises(ContrastiveError, match="7, 7 and 6 rows"):
        relation_loss(a, b, 1.0, c[:6])
