"""The shape of an aligned space: alignment, uniformity, modality gap, dimensions in use, similarity of two
spaces.

Sources: alignment and uniformity, Wang & Isola 2020; modality gap, Liang et al. 2022; effective rank, Roy &
Vetterli 2007; centred kernel alignment, Kornblith et al. 2019, with the unbiased estimate of Song et al.
2012.

Note:
    None of these says that retrieval works. A collapsed space has perfect alignment; read it next to uniformity. The
    plain CKA of few samples in many dimensions is near 1 for noise; the unbiased one is near 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pairalign.core.errors import DataError
from pairalign.evaluate.relevance import blocks


def alignment(a: Tensor, b: Tensor, alpha: float = 2.0) -> float:
    """Mean `|â_i - b̂_i|^alpha` over pairs, a, b (N, D): 0 if equal, 2 if unrelated (alpha 2)."""
    x, y = _unit_pair(a, b)
    return float((x - y).norm(dim=1).pow(alpha).mean())


def uniformity(x: Tensor, t: float = 2.0) -> float:
    """`log mean exp(-t |x̂_i - x̂_j|²)` over i != j, x (N, D): 0 if collapsed, lower is more spread."""
    if len(x) < 2:
        raise DataError(f"uniformity: {len(x)} samples: give at least 2.")
    unit = _unit(x)
    total = torch.zeros((), dtype=torch.float64)
    for rows in blocks(len(unit), len(unit)):
        total += torch.exp(-t * (2 - 2 * unit[rows] @ unit.T).clamp(min=0)).sum()
    return float(torch.log((total - len(unit)) / (len(unit) * (len(unit) - 1))))


def modality_gap(a: Tensor, b: Tensor) -> float:
    """Distance between the centroids of the unit vectors of two modalities, a (N, D) and b (M, D): 0 to 2."""
    _check(a, b, paired=False)
    return float((_unit(a).mean(0) - _unit(b).mean(0)).norm())


def effective_rank(x: Tensor) -> float:
    """Exponential of the entropy of the singular values of centred x (N, D): 0 (constant) to min(N, D)."""
    values = torch.linalg.svdvals(x.detach().cpu().double() - x.detach().cpu().double().mean(0))
    if values.sum() <= 1e-12:
        return 0.0
    share = values / values.sum()
    return float(torch.exp(torch.special.entr(share).sum()))


@dataclass(frozen=True)
class EdgeDimensions:
    """What each latent dimension does for one edge.

    use: (D,) its part of the margin; `use.sum()` is mean similarity of pairs minus that of non-pairs.
    active: (D,) bool, dimensions in use. n_active: how many. effective: participation ratio `(Σu)² / Σu²`.
    margin: the sum. rank_a, rank_b: effective rank of the two gated latents.
    """

    use: Tensor
    active: Tensor
    n_active: int
    effective: float
    margin: float
    rank_a: float
    rank_b: float

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for `metrics.json`."""
        return {
            "n_active": self.n_active,
            "effective": self.effective,
            "margin": self.margin,
            "rank_a": self.rank_a,
            "rank_b": self.rank_b,
            "active": self.active.nonzero().flatten().tolist(),
        }


def edge_dimensions(a: Tensor, b: Tensor, gates: Tensor | None = None, threshold: float = 0.05) -> EdgeDimensions:
    """Which dimensions carry an edge; paired latents a, b (N, D) and the edge's gates (D,), all ones if
    `None`.

    The cosine of two unit vectors is a sum over dimensions, so the margin between pairs and non-pairs is
    exactly the sum over dimensions of the covariance of `â_j` and `b̂_j` (with divisor N - 1): that
    covariance is `use`. A dimension is active if it carries at least `threshold` of what the largest one
    does, and its correlation is above three standard errors of noise, `3 / sqrt(N)`.
    """
    _check(a, b)
    if len(a) < 2:
        raise DataError(f"edge_dimensions: {len(a)} pairs: give at least 2.")
    gate = torch.ones(a.shape[1]) if gates is None else gates.detach().flatten()
    if len(gate) != a.shape[1]:
        raise DataError(f"gates: {len(gate)} of them for latents of width {a.shape[1]}: give one per dimension.")
    gate = gate.cpu().double()
    x, y = (z.detach().cpu().double() * gate for z in (a, b))
    u, v = F.normalize(x, dim=1), F.normalize(y, dim=1)
    u, v = u - u.mean(0), v - v.mean(0)
    use = (u * v).sum(0) / (len(u) - 1)
    noise = 3 * u.std(0) * v.std(0) / len(u) ** 0.5
    active = (use > 1e-12) & (use >= threshold * use.max()) & (use > noise)
    positive = use.clamp(min=0)
    effective = float(positive.sum() ** 2 / positive.square().sum()) if positive.any() else 0.0
    return EdgeDimensions(
        use, active, int(active.sum()), effective, float(use.sum()), effective_rank(x), effective_rank(y)
    )


def cka(a: Tensor, b: Tensor, unbiased: bool = True) -> float:
    """Linear centred kernel alignment of two views of the same N samples, a (N, D), b (N, E).

    1: equal up to rotation and scale; 0: unrelated (slightly negative values are noise of the unbiased
    estimate). NaN where one side is constant.
    """
    if len(a) != len(b) or len(a) < 4:
        raise DataError(f"cka: {len(a)} and {len(b)} samples: give the same samples on both sides, at least 4.")
    x, y = (z.detach().cpu().double() for z in (a, b))
    x, y = x - x.mean(0), y - y.mean(0)
    hsic = _hsic_unbiased if unbiased else lambda p, q: (p.T @ q).square().sum()
    scale = (hsic(x, x) * hsic(y, y)).clamp(min=0).sqrt()
    return float(hsic(x, y) / scale) if scale > 1e-18 else float("nan")


def _hsic_unbiased(x: Tensor, y: Tensor) -> Tensor:
    """Of the kernels K = x xᵀ and M = y yᵀ without their diagonals, of which neither (N, N) exists: their sums are
    sums over the features of x (N, D) and y (N, E)."""
    n, (own_x, own_y) = len(x), (z.square().sum(1) for z in (x, y))
    rows_x, rows_y = (z @ z.sum(0) - own for z, own in ((x, own_x), (y, own_y)))
    trace = (x.T @ y).square().sum() - own_x @ own_y
    means = rows_x.sum() * rows_y.sum() / ((n - 1) * (n - 2))
    cross = 2 * (rows_x @ rows_y) / (n - 2)
    return (trace + means - cross) / (n * (n - 3))


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x.detach().cpu().double(), dim=1)


def _unit_pair(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    _check(a, b)
    return _unit(a), _unit(b)


def _check(a: Tensor, b: Tensor, paired: bool = True) -> None:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or (paired and len(a) != len(b)) or not len(a):
        wanted = "(N, D) twice" if paired else "(N, D) and (M, D)"
        raise DataError(f"latents of shapes {tuple(a.shape)} and {tuple(b.shape)}: give {wanted}, not empty.")
