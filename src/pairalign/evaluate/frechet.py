"""How far two sets of features lie apart as two Gaussians: the Fréchet distance behind FID.

    d² = |mean_a - mean_b|² + tr(C_a + C_b - 2 (C_a C_b)^½)

Source: Heusel et al. 2017 (arXiv:1706.08500); its bias at few samples, Chong & Forsyth 2020 (arXiv:1911.07023).

Note:
    From few samples it is far too large, and more so for one set than for another, so below `needed` it is refused;
    beside it stands the distance of two sets of true samples of the same size, which is what equal ones score.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pairalign.core.errors import DataError

PER_DIMENSION = 5


def needed(width: int) -> int:
    """Samples of each set without which covariances of features (N, width) say too little."""
    return PER_DIMENSION * width


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Of features (N, D) and (M, D), in their own unit squared: 0 if means and covariances are equal.

    Raises `DataError` where a set has fewer than `needed(D)` samples.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise DataError(f"features of shapes {tuple(a.shape)} and {tuple(b.shape)}: give (N, D) and (M, D).")
    few = min(len(a), len(b))
    if few < needed(a.shape[1]):
        raise DataError(
            f"a Fréchet distance of {a.shape[1]} features needs {needed(a.shape[1])} samples of each set, {few} are "
            "there: give more pairs and a larger gallery."
        )
    (mean_a, cov_a), (mean_b, cov_b) = (
        (x.double().mean(0), torch.cov(x.double().T).reshape(2 * x.shape[1:])) for x in (a, b)
    )
    values, vectors = torch.linalg.eigh(cov_a)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    return float((mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross)
