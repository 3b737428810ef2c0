"""Cross-modal retrieval: R@k, median rank and factor agreement, each beside its exact chance level.

Source: R@k and median rank as in Faghri et al. 2018 (VSE++); chance and ties from the (negative)
hypergeometric law.

Note:
    Ties. A collapsed encoder gives every pair the same similarity, and `argmax` or a stable sort then finds the
    diagonal and reports a perfect score. Here tied candidates are in random order, in expectation, so that a collapsed
    encoder scores chance exactly. And duplicates: two samples with one caption are both right answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pairalign.core.errors import ConfigError, DataError
from pairalign.evaluate.intervals import Labels, Score, bootstrap, bootstrap_mean, encode_labels
from pairalign.evaluate.ranking import (
    TIE,
    chance_median,
    check_pool,
    hit_probability,
    rank_counts,
    similarities,
)
from pairalign.evaluate.relevance import Candidates, Relevance, Rows


@dataclass(frozen=True)
class RetrievalScore:
    """Retrieval in one direction.

    recall: k -> share of queries with a relevant target among their k nearest.
    median_rank: of the nearest relevant target, 1 is best; its `chance` is the median under random ranking.
    n_queries, n_targets: pool sizes. n_skipped: queries left out, as no candidate is relevant to them.
    candidates: mean number of targets a query chooses from (smaller than n_targets under `restrict`).
    ranks: (n_queries - n_skipped,) expected rank of the nearest relevant target, for plots and paired tests.
    """

    recall: dict[int, Score]
    median_rank: Score
    n_queries: int
    n_targets: int
    n_skipped: int
    candidates: float
    ranks: Tensor = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for `metrics.json`; `ranks` stays out."""
        return {
            **{f"R@{k}": score.to_dict() for k, score in self.recall.items()},
            "median_rank": self.median_rank.to_dict(),
            "n_queries": self.n_queries,
            "n_targets": self.n_targets,
            "n_skipped": self.n_skipped,
            "candidates": self.candidates,
        }


class Bidirectional(NamedTuple):
    """Retrieval a -> b and b -> a."""

    forward: RetrievalScore
    backward: RetrievalScore

    def to_dict(self) -> dict[str, Any]:
        """Both directions as plain numbers."""
        return {"forward": self.forward.to_dict(), "backward": self.backward.to_dict()}


def retrieval(
    queries: Tensor,
    targets: Tensor,
    *,
    query_ids: Labels | None = None,
    target_ids: Labels | None = None,
    relevant: Rows | Tensor | None = None,
    restrict: tuple[Labels, Labels] | None = None,
    groups: Labels | None = None,
    ks: Sequence[int] = (1, 5, 10),
    tie: float = TIE,
    samples: int = 1000,
    seed: int = 0,
) -> RetrievalScore:
    """Score retrieval of `targets` (M, D) by `queries` (N, D) under cosine similarity.

    query_ids, target_ids: N and M labels; a target is relevant to a query if they are equal (pair key or
    caption).
    relevant: or a boolean (N, M) matrix, by rows where it is large (`pairalign.evaluate.relevance`). With neither,
    N = M and row i matches row i.
    restrict: (query groups, target groups): a query chooses only among targets of its own group, say one
    object.
    groups: N labels for a cluster bootstrap; without, queries are resampled one by one.
    tie: similarities nearer than this count as tied, and tied candidates as randomly ordered.
    Raises `DataError` for sizes that do not fit, non-finite embeddings, or when no query has a relevant
    candidate.
    """
    check_pool(queries, targets)
    _check_ks(ks)
    matches = Relevance(len(queries), len(targets), query_ids, target_ids, relevant)
    pool = Candidates(len(queries), len(targets), restrict)
    counts = torch.cat(
        [rank_counts(sim, matches[rows] & pool[rows], pool[rows], tie) for rows, sim in similarities(queries, targets)]
    )
    kept = counts[:, 3] > 0
    if not kept.any():
        raise DataError("retrieval: no query has a relevant candidate: check the ids, or the groups of `restrict`.")
    if groups is not None:
        (codes,) = encode_labels(groups)
        if len(codes) != len(queries):
            raise DataError(f"groups holds {len(codes)} labels for {len(queries)} queries: give one per query.")
        groups = codes[kept]
    counts = counts[kept]
    above, wrong, right, n_right, n_pool = counts.unbind(1)
    settings: dict[str, Any] = {"groups": groups, "samples": samples, "seed": seed}
    recall = {
        k: bootstrap_mean(
            hit_probability(k - above, wrong, right),
            chance=float(hit_probability(torch.full_like(above, k), n_pool - n_right, n_right).mean()),
            **settings,
        )
        for k in ks
    }
    ranks = above + (wrong + right + 1) / (right + 1)
    median = bootstrap(_weighted_median(ranks), len(ranks), chance=chance_median(n_right, n_pool), **settings)
    return RetrievalScore(recall, median, len(queries), len(targets), int((~kept).sum()), float(n_pool.mean()), ranks)


def bidirectional(
    a: Tensor,
    b: Tensor,
    *,
    a_ids: Labels | None = None,
    b_ids: Labels | None = None,
    relevant: Rows | Tensor | None = None,
    restrict: tuple[Labels, Labels] | None = None,
    groups: tuple[Labels, Labels] | None = None,
    **settings: Any,
) -> Bidirectional:
    """`retrieval` from `a` (N, D) to `b` (M, D) and back; `restrict`, `groups`: (of a, of b)."""
    forward = retrieval(
        a,
        b,
        query_ids=a_ids,
        target_ids=b_ids,
        relevant=relevant,
        restrict=restrict,
        groups=groups and groups[0],
        **settings,
    )
    backward = retrieval(
        b,
        a,
        query_ids=b_ids,
        target_ids=a_ids,
        relevant=None if relevant is None else relevant.T,
        restrict=restrict and restrict[::-1],
        groups=groups and groups[1],
        **settings,
    )
    return Bidirectional(forward, backward)


def agreement(
    queries: Tensor,
    targets: Tensor,
    query_factors: Mapping[str, Labels],
    target_factors: Mapping[str, Labels],
    factors: Sequence[str],
    *,
    exclude_self: bool = False,
    groups: Labels | None = None,
    tie: float = TIE,
    samples: int = 1000,
    seed: int = 0,
) -> Score:
    """Share of queries whose nearest target agrees with them on *all* of `factors`; chance is a random
    target.

    queries (N, D), targets (M, D); factors map a name to N and M labels. Tied nearest targets count by their
    share.
    exclude_self: leave target i out for query i (N = M), to ask about the neighbours of a sample and not its
    pair.
    """
    check_pool(queries, targets)
    matches = _factor_match(query_factors, target_factors, factors, (len(queries), len(targets)))
    if exclude_self and (len(queries) != len(targets) or len(targets) < 2):
        raise DataError(f"exclude_self: {len(queries)} queries and {len(targets)} targets: give equal sizes above 1.")
    shares, expected = [], []
    for rows, sim in similarities(queries, targets):
        agree, allowed = matches[rows], torch.ones_like(sim, dtype=torch.bool)
        if exclude_self:
            allowed[torch.arange(len(sim)), torch.arange(len(targets))[rows]] = False
        best = sim.masked_fill(~allowed, -torch.inf).amax(1, keepdim=True)
        nearest = allowed & (sim >= best - tie)
        shares.append((nearest & agree).sum(1) / nearest.sum(1))
        expected.append((allowed & agree).sum(1) / allowed.sum(1))
    chance = float(torch.cat(expected).double().mean())
    return bootstrap_mean(torch.cat(shares), groups=groups, chance=chance, samples=samples, seed=seed)


def nearest(queries: Tensor, targets: Tensor, k: int = 5) -> tuple[Tensor, Tensor]:
    """Cosine similarity and index of the k nearest targets, best first: (N, k) float64, (N, k) int64."""
    check_pool(queries, targets)
    found = [sim.topk(min(k, len(targets)), dim=1) for _, sim in similarities(queries, targets)]
    return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])


def _factor_match(
    query: Mapping[str, Labels], target: Mapping[str, Labels], names: Sequence[str], sizes: tuple[int, int]
) -> Relevance:
    if not names:
        raise ConfigError("agreement(factors=[]): name at least one factor.")
    for name in names:
        if name not in query or name not in target:
            known = ", ".join(sorted(set(query) & set(target))) or "none"
            raise ConfigError(f"agreement(factors={list(names)!r}): {name!r} is not on both sides. Known: {known}.")
    codes = [encode_labels(query[name], target[name]) for name in names]
    query_ids = list(zip(*(q.tolist() for q, _ in codes), strict=True))
    target_ids = list(zip(*(t.tolist() for _, t in codes), strict=True))
    return Relevance(*sizes, query_ids, target_ids, None)


def _weighted_median(values: Tensor) -> Any:
    """A statistic for `bootstrap`: the median of `values` (n,) under integer weights (R, n)."""
    ordered, order = values.sort()

    def statistic(weights: Tensor) -> Tensor:
        total = weights[:, order].cumsum(1)
        half = total[:, -1:] / 2
        low = (total < half).sum(1)
        high = (total <= half).sum(1).clamp(max=len(values) - 1)
        return (ordered[low] + ordered[high]) / 2

    return statistic


def _check_ks(ks: Sequence[int]) -> None:
    if not ks or any(k < 1 for k in ks):
        raise ConfigError(f"ks={list(ks)!r}: give at least one k, each at least 1.")
