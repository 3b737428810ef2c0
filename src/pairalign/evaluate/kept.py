"""Partial alignment seen: which factors are in the shared dimensions that an edge's gate keeps, and in those it drops.

Two ways to ask, both fitted on half of the pool and asked about the other half: a linear discriminant on all kept and
on all dropped dimensions of a side, and each dimension by itself, by the nearest class mean.

Note:
    A factor that both sides see should be in kept dimensions; one that a single side sees is free to live anywhere but
    there, and a gate that keeps everything tells nothing apart: then see whether a factor follows the gate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pairalign.align.model import PairAligner
from pairalign.data.graph import edge_name
from pairalign.evaluate.intervals import Score, encode_labels, wilson
from pairalign.evaluate.pool import EvalPool
from pairalign.evaluate.probe import split_rows

CLASSES = 50  # most values of a factor
KEPT = 0.5  # of the largest gate, as `EdgeGates.active` counts
RIDGE = 1e-2  # of the variance of standardised dimensions


def measure_kept(
    aligner: PairAligner, pool: EvalPool, visible: Mapping[str, Sequence[str]] | None = None, seed: int = 0
) -> dict[str, Any]:
    """By trained edge of the pool: its gate, which dimensions it keeps, and by side and factor what is where.

    Each factor has scores `kept` and `dropped`, `None` without such dimensions; `each`, the accuracy of every dimension
    (d_s,); `follows`, the rank correlation of that with the gate; its `chance`; and `seen`, whether both sides can see
    it, `None` where `visible` does not say.
    """
    rows, factors = _split(pool, seed), _factors(pool)
    record: dict[str, Any] = {}
    for edge in aligner.graph.edges if factors else ():
        if not all(end in pool.latents for end in edge):
            continue
        gate = aligner.gates(edge).detach().cpu()
        kept = torch.zeros(len(gate), dtype=torch.bool)
        kept[aligner.gates.active(edge, KEPT)] = True
        sides: dict[str, Any] = {}
        for end in edge:
            z = pool.latents[end].shared
            sides[end] = {name: _factor(z, codes, kept, rows, pool) for name, codes in factors.items()}
            for name, found in sides[end].items():
                found["follows"] = rank_correlation(gate, torch.tensor(found["each"]))
                found["seen"] = None if visible is None else all(name in visible[m] for m in edge)
        record[edge_name(edge)] = {"gate": gate.tolist(), "kept": int(kept.sum()), "sides": sides}
    return record


def kept_rows(record: Mapping[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """A row for each edge, side and factor."""
    rows = []
    for edge, found in record.get("gates", {}).items():
        total = len(found["gate"])
        for side, factors in found["sides"].items():
            for name, one in factors.items():
                both = {None: "", True: "both sides", False: "not both"}[one["seen"]]
                count = f"{found['kept']} of {total}"
                rows.append([edge, count, side, name, both, one["kept"], one["dropped"], one["follows"]])
    head = ["edge", "kept", "read from", "factor", "seen by", "from kept / chance", "from dropped / chance"]
    head.append("follows the gate")
    return head, rows


def classify(z: Tensor, codes: Tensor, rows: tuple[Tensor, Tensor]) -> Tensor:
    """What a linear discriminant, fitted on the first rows of z (N, D), says of the second: class numbers."""
    train, test = (z[part].double() for part in rows)
    mean, scale = train.mean(0), train.std(0).clamp(min=1e-9)
    x, y = ((part - mean) / scale for part in (train, test))
    known = F.one_hot(codes[rows[0]], int(codes.max()) + 1).double()
    counts = known.sum(0)
    means = known.T @ x / counts[:, None].clamp(min=1)
    within = x - means[codes[rows[0]]]
    spread = within.T @ within / len(x) + RIDGE * torch.eye(x.shape[1], dtype=x.dtype)
    weights = torch.linalg.solve(spread, means.T)
    return (y @ weights - (means.T * weights).sum(0) / 2 + (counts / len(x)).log()).argmax(1)


def each_dimension(z: Tensor, codes: Tensor, rows: tuple[Tensor, Tensor]) -> Tensor:
    """Accuracy (D,) of every dimension alone, by the nearest class mean."""
    known = F.one_hot(codes[rows[0]], int(codes.max()) + 1).double()
    means = known.T @ z[rows[0]].double() / known.sum(0)[:, None].clamp(min=1)
    means[known.sum(0) == 0] = torch.inf
    said = (z[rows[1]].double()[:, :, None] - means.T).abs().argmin(2)
    return (said == codes[rows[1]][:, None]).double().mean(0)


def rank_correlation(a: Tensor, b: Tensor) -> float | None:
    """Spearman's, with ties at their mean rank; `None` where one side is constant."""
    one, other = (_ranks(x) for x in (a, b))
    if not (bool(one.std() > 0) and bool(other.std() > 0)):
        return None
    return float(torch.corrcoef(torch.stack([one, other]))[0, 1])


def _ranks(x: Tensor) -> Tensor:
    _, codes, counts = x.double().unique(return_inverse=True, return_counts=True)
    return (counts.cumsum(0) - (counts - 1) / 2)[codes]


def _factor(z: Tensor, codes: Tensor, kept: Tensor, rows: tuple[Tensor, Tensor], pool: EvalPool) -> dict[str, Any]:
    truth = codes[rows[1]]
    chance = float((truth == codes[rows[0]].mode().values).double().mean())
    clusters = None if pool.clusters is None else len({pool.clusters[i] for i in rows[1].tolist()})

    def score(which: Tensor) -> Score | None:
        if not bool(which.any()):
            return None
        share = float((classify(z[:, which], codes, rows) == truth).double().mean())
        units = clusters or len(truth)
        bound = wilson(share * units, units)
        return Score(share, bound.low, bound.high, len(truth), chance, clusters)

    each = each_dimension(z, codes, rows).tolist()
    return {"kept": score(kept), "dropped": score(~kept), "each": each, "chance": chance}


def _split(pool: EvalPool, seed: int) -> tuple[Tensor, Tensor]:
    groups = pool.clusters if pool.clusters and len(set(pool.clusters)) > 3 else None
    return split_rows(len(pool.keys), 0.5, groups=groups, seed=seed)


def _factors(pool: EvalPool) -> dict[str, Tensor]:
    """Factors of the pool that can be told, as numbers."""
    found = {name: encode_labels([str(x) for x in labels])[0] for name, labels in pool.factors.items()}
    return {name: codes for name, codes in found.items() if 2 <= len(codes.unique()) <= CLASSES}
