"""The Fréchet distance: a slow oracle, hand-known values, and too few samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pairalign.core.errors import DataError
from pairalign.evaluate.frechet import frechet_distance, needed


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_it_is_the_formula_with_the_root_of_the_product_itself() -> None:
    a, b = normal(60, 4) @ normal(4, 4, seed=1), 1 + normal(50, 4, seed=2)
    product = np.cov(a.numpy().T) @ np.cov(b.numpy().T)
    root = np.sqrt(np.linalg.eigvals(product).astype(complex)).real.sum()
    mean = np.square(a.numpy().mean(0) - b.numpy().mean(0)).sum()
    traces = np.trace(np.cov(a.numpy().T)) + np.trace(np.cov(b.numpy().T))
    assert frechet_distance(a, b) == pytest.approx(mean + traces - 2 * root)


def test_equal_sets_are_at_zero_and_a_shift_costs_its_square() -> None:
    a = normal(40, 3)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, a + torch.tensor([3.0, 0, 4])) == pytest.approx(25)
    one = normal(40, 1)
    assert frechet_distance(one, 3 * one - 2 * one.mean()) == pytest.approx(4 * float(one.var()))


def test_too_few_samples_are_refused_with_how_many_it_takes() -> None:
    assert needed(8) == 40
    with pytest.raises(DataError, match=r"8 features needs 40 samples of each set, 39 are there"):
        frechet_distance(normal(39, 8), normal(90, 8))
