"""Geometry of the space: hand-known values, loops, and what must not change under rotation."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pairalign.core.errors import DataError
from pairalign.evaluate.geometry import (
    alignment,
    cka,
    edge_dimensions,
    effective_rank,
    modality_gap,
    uniformity,
)


def unit_rows(x: Tensor) -> list[list[float]]:
    rows = []
    for row in x.double().tolist():
        length = math.sqrt(sum(v * v for v in row))
        rows.append([v / length for v in row])
    return rows


def square(a: list[float], b: list[float]) -> float:
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def rotation(width: int, seed: int) -> Tensor:
    return torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(seed)))[0]


def pair(seed: int, n: int = 12, width: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(n, width, generator=generator)
    return a, a + torch.randn(n, width, generator=generator)


@given(st.integers(0, 1000), st.integers(2, 9))
@settings(max_examples=20, deadline=None)
def test_alignment_uniformity_and_gap_match_loops(seed: int, n: int) -> None:
    a, b = pair(seed, n)
    x, y = unit_rows(a), unit_rows(b)
    aligned = sum(square(p, q) for p, q in zip(x, y, strict=True)) / n
    cubed = sum(square(p, q) ** 1.5 for p, q in zip(x, y, strict=True)) / n
    spread = [math.exp(-2 * square(x[i], x[j])) for i in range(n) for j in range(n) if i != j]
    centres = [[sum(row[d] for row in rows) / n for d in range(5)] for rows in (x, y)]
    assert alignment(a, b) == pytest.approx(aligned)
    assert alignment(a, b, alpha=3) == pytest.approx(cubed)
    assert uniformity(a) == pytest.approx(math.log(sum(spread) / len(spread)))
    assert modality_gap(a, b) == pytest.approx(math.sqrt(square(*centres)))


def test_known_spaces() -> None:
    same = torch.ones(8, 3)
    assert alignment(same, 5 * same) == pytest.approx(0)
    assert uniformity(same) == pytest.approx(0)
    assert modality_gap(same, -same) == pytest.approx(2)
    poles = torch.tensor([[1.0, 0], [-1, 0]])
    assert uniformity(poles) == pytest.approx(-8)  # exp(-2 * 2²)
    assert modality_gap(poles, torch.ones(3, 2)) == pytest.approx(1)


@given(st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_rotation_scale_and_order_change_nothing(seed: int) -> None:
    a, b = pair(seed)
    q, order = rotation(5, seed + 1), torch.randperm(12, generator=torch.Generator().manual_seed(seed))
    c, d = 3 * (a @ q)[order], 0.5 * (b @ q)[order]
    for measure in (alignment, modality_gap, cka):
        assert measure(a, b) == pytest.approx(measure(c, d), abs=1e-5)
    assert uniformity(a) == pytest.approx(uniformity(c), abs=1e-5)
    assert effective_rank(a) == pytest.approx(effective_rank(c), abs=1e-4)


def test_effective_rank_counts_equal_directions() -> None:
    signs = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    assert effective_rank(signs) == pytest.approx(2)
    assert effective_rank(torch.cat([signs, torch.zeros(4, 3)], 1)) == pytest.approx(2)
    assert effective_rank(signs * torch.tensor([1.0, 0])) == pytest.approx(1)
    assert effective_rank(torch.ones(5, 3)) == 0


@given(st.integers(0, 1000), st.integers(2, 10))
@settings(max_examples=20, deadline=None)
def test_use_sums_to_the_margin_between_pairs_and_non_pairs(seed: int, n: int) -> None:
    a, b = pair(seed, n)
    gates = torch.rand(5, generator=torch.Generator().manual_seed(seed))
    x, y = unit_rows(gates * a), unit_rows(gates * b)
    dots = [[sum(p * q for p, q in zip(u, v, strict=True)) for v in y] for u in x]
    paired = sum(dots[i][i] for i in range(n)) / n
    others = sum(dots[i][j] for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    found = edge_dimensions(a, b, gates)
    assert float(found.use.sum()) == pytest.approx(paired - others, abs=1e-6)
    assert found.margin == pytest.approx(paired - others, abs=1e-6)


def test_closed_gates_and_unaligned_dimensions_are_not_active() -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(500, 12, generator=generator)
    b = a.clone()
    b[:, 8:] = torch.randn(500, 4, generator=generator)  # private: never agrees
    gates = torch.ones(12)
    gates[:3] = 0
    found = edge_dimensions(a, b, gates)
    assert found.active.nonzero().flatten().tolist() == [3, 4, 5, 6, 7]
    assert found.n_active == 5
    assert found.effective == pytest.approx(5, abs=0.3)
    assert found.to_dict()["active"] == [3, 4, 5, 6, 7]
    assert edge_dimensions(a, b).n_active == 8
    assert 8.5 < found.rank_a < 9.01


def test_an_edge_of_noise_uses_nothing() -> None:
    generator = torch.Generator().manual_seed(1)
    noise = edge_dimensions(torch.randn(400, 16, generator=generator), torch.randn(400, 16, generator=generator))
    assert noise.n_active <= 1
    flat = edge_dimensions(torch.ones(4, 3), torch.ones(4, 3))
    assert (flat.n_active, flat.effective, flat.margin) == (0, 0, pytest.approx(0))


def test_cka_matches_its_definition() -> None:
    a, b = pair(0, n=9)
    x, y = (z.double() - z.double().mean(0) for z in (a, b))
    cross, xx, yy = (x.T @ y).square().sum(), (x.T @ x).square().sum(), (y.T @ y).square().sum()
    assert cka(a, b, unbiased=False) == pytest.approx(float(cross / (xx * yy).sqrt()))
    assert cka(a, 7 * a @ rotation(5, 2)) == pytest.approx(1)
    assert math.isnan(cka(torch.ones(5, 2), torch.randn(5, 2)))


@pytest.mark.parametrize("widths", [(3, 5), (20, 4)])
def test_unbiased_cka_is_that_of_the_kernels_themselves(widths: tuple[int, int]) -> None:
    """Song et al. 2012, eq. 5, on the (N, N) kernels that `cka` never makes."""
    generator = torch.Generator().manual_seed(4)
    n, shared = 12, torch.randn(12, 3, generator=generator)
    a, b = (torch.cat([shared, torch.randn(n, w, generator=generator)], 1).double() for w in widths)

    def hsic(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        k, m = ((z - z.mean(0)) @ (z - z.mean(0)).T for z in (p, q))
        k, m = k.fill_diagonal_(0), m.fill_diagonal_(0)
        one = torch.ones(n, dtype=torch.float64)
        means = (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
        return (torch.trace(k @ m) + means - 2 / (n - 2) * one @ k @ m @ one) / (n * (n - 3))

    assert cka(a, b) == pytest.approx(float(hsic(a, b) / (hsic(a, a) * hsic(b, b)).sqrt()), rel=1e-10)


def test_unbiased_cka_of_noise_is_near_zero_where_the_plain_one_is_not() -> None:
    generator = torch.Generator().manual_seed(2)
    a, b = torch.randn(60, 300, generator=generator), torch.randn(60, 300, generator=generator)
    assert cka(a, b, unbiased=False) > 0.7
    assert abs(cka(a, b)) < 0.05


def test_bad_shapes_are_named() -> None:
    with pytest.raises(DataError, match=r"\(3, 2\) and \(4, 2\)"):
        alignment(torch.ones(3, 2), torch.ones(4, 2))
    with pytest.raises(DataError, match="one per dimension"):
        edge_dimensions(torch.ones(3, 2), torch.ones(3, 2), torch.ones(3))
    with pytest.raises(DataError, match="at least 2"):
        uniformity(torch.ones(1, 2))
    with pytest.raises(DataError, match="at least 2"):
        edge_dimensions(torch.ones(1, 2), torch.ones(1, 2))
    with pytest.raises(DataError, match="at least 4"):
        cka(torch.ones(3, 2), torch.ones(3, 2))
