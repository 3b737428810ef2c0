"""Ranks that are fair to ties, and the chance level of each: the arithmetic under `retrieval`.

Source: with `wrong` and `right` items in random order, hits follow the hypergeometric law and the first hit
the negative hypergeometric law.

Note:
    Nothing of size N x M is ever held; ask for rows of it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from pairalign.core.errors import DataError
from pairalign.evaluate.relevance import blocks

TIE = 1e-6  # cosine similarities nearer than this are tied: float32 encoders are not more exact


def hit_probability(k: Tensor, wrong: Tensor, right: Tensor) -> Tensor:
    """P(any of `right` items among the first k of `right + wrong` in random order), elementwise, float64.

    One minus the hypergeometric P(none) = C(wrong, k) / C(wrong + right, k), as a product of min(k, right)
    ratios. Zero where k < 1 or right < 1.
    """
    total = (wrong + right).double()
    k, right = k.double().minimum(total), right.double()
    fewer, more = k.minimum(right), k.maximum(right)
    none = torch.ones_like(total)
    for i in range(int(fewer.max()) if fewer.numel() else 0):
        ratio = (total - more - i).clamp(min=0) / (total - i).clamp(min=1)
        none = torch.where(i < fewer, none * ratio, none)
    return 1 - none


def rank_counts(sim: Tensor, relevant: Tensor, allowed: Tensor, tie: float) -> Tensor:
    """Per query (B, 5): wrong targets above the best right one; wrong, right tied with it; all right; all."""
    best = sim.masked_fill(~relevant, -torch.inf).amax(1, keepdim=True)
    wrong = allowed & ~relevant
    level = (sim - best).abs() <= tie
    counts = [wrong & (sim > best + tie), wrong & level, relevant & level, relevant, allowed.expand_as(sim)]
    return torch.stack([c.sum(1) for c in counts], 1).double()


def similarities(queries: Tensor, targets: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Row blocks of the cosine matrix on the CPU in float64, so that rounding breaks no tie."""
    unit = F.normalize(targets.detach().cpu().double(), dim=1)
    for rows in blocks(len(queries), len(targets)):
        yield rows, F.normalize(queries[rows].detach().cpu().double(), dim=1) @ unit.T


def chance_median(right: Tensor, total: Tensor) -> float:
    """Median over queries of the rank of the first right target in random order; right, total (N,)."""
    (right, total), n = torch.unique(torch.stack([right, total]), dim=1, return_counts=True)
    goal = n.sum() / 2

    def reached(k: int) -> Tensor:
        return (n * hit_probability(torch.full_like(total, k), total - right, right)).sum()

    ranks = range(1, int(total.max()) + 1)
    low = bisect_left(ranks, True, key=lambda k: bool(reached(k) >= goal - 1e-9))
    high = bisect_left(ranks, True, key=lambda k: bool(reached(k) > goal + 1e-9))
    return (ranks[low] + ranks[min(high, len(ranks) - 1)]) / 2


def check_pool(queries: Tensor, targets: Tensor) -> None:
    if queries.ndim != 2 or targets.ndim != 2 or queries.shape[1] != targets.shape[1]:
        shapes = f"{tuple(queries.shape)} and {tuple(targets.shape)}"
        raise DataError(f"queries and targets have shapes {shapes}: give (N, D) and (M, D) of one width D.")
    if not len(queries) or not len(targets):
        raise DataError(f"{len(queries)} queries and {len(targets)} targets: an empty split has no score.")
    for name, x in (("queries", queries), ("targets", targets)):
        if not bool(x.isfinite().all()):
            raise DataError(f"{name}: hold NaN or infinity: the encoder diverged, or a signal was not checked.")
