"""What retrieval compares of two modalities of a pool, and which of it belongs together.

Note:
    A sample may have several captions. Each is a query and a target of its own; right are all captions of a sample,
    those of samples that show the same, and equal captions of others. They count as one sample in intervals.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from pairalign.align.model import PairAligner
from pairalign.align.partial import gated_cosine
from pairalign.evaluate.pool import EvalPool
from pairalign.evaluate.relevance import SharesAny


class Compared(NamedTuple):
    """Unit vectors `a` (N, d_s) and `b` (M, d_s), the right answers of each to the other, and (of a, of b) what counts
    as one in an interval and what group it is of, each `None` where nothing is recorded."""

    a: Tensor
    b: Tensor
    relevant: SharesAny
    clusters: tuple[list[Any], list[Any]] | None
    groups: tuple[list[Any], list[Any]] | None


def pair_embeddings(aligner: PairAligner, pool: EvalPool, a: str, b: str) -> tuple[Tensor, Tensor]:
    """Unit vectors of two modalities in the dimensions that their path carries, (N, d_s) twice."""
    gate = aligner.path_gate(a, b).detach().cpu()
    return gated_cosine(gate, pool.latents[a].shared, pool.latents[b].shared)


def compared(aligner: PairAligner, pool: EvalPool, pair: tuple[str, str]) -> Compared:
    """Both modalities of a pair, with all captions of those that have several."""
    rows = torch.arange(len(pool.keys))
    several = [pool.captions.get(end) for end in pair]
    owners = [rows if one is None else one.owner for one in several]
    gate = aligner.path_gate(*pair).detach().cpu()
    shared = [pool.latents[end].shared if one is None else one.shared for end, one in zip(pair, several, strict=True)]
    a, b = (gated_cosine(gate, one, one)[0] for one in shared)
    clusters: list[Any] | None = pool.clusters
    if clusters is None and any(one is not None for one in several):
        clusters = rows.tolist()
    return Compared(a, b, _relevant(pool, pair, owners), _of(clusters, owners), _of(pool.groups, owners))


def _of(labels: list[Any] | None, owners: list[Tensor]) -> tuple[list[Any], list[Any]] | None:
    if not labels:
        return None
    one, other = ([labels[row] for row in owner.tolist()] for owner in owners)
    return one, other


def _relevant(pool: EvalPool, pair: tuple[str, str], owners: list[Tensor]) -> SharesAny:
    """By equal content of either modality, one column for each, or for each place of a list of captions."""
    query, target = list[Tensor](), list[Tensor]()
    for which, end in enumerate(pair):
        captions = pool.captions.get(end)
        if captions is None:
            query.append(pool.ids[end][owners[0]])
            target.append(pool.ids[end][owners[1]])
            continue
        query.append(owners[0])
        target.append(owners[1])
        for column in captions.table.T:  # of the other side's sample, against this side's own captions
            query.append(captions.ids if which == 0 else column[owners[0]])
            target.append(column[owners[1]] if which == 0 else captions.ids)
    return SharesAny(query, target)
