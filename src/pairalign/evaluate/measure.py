"""What is measured of an encoded pool: every pair of modalities, and every modality by itself.

Note:
    Two samples with the same caption, or the same image, are both right answers; and a factor that one modality on the
    path cannot see belongs to the controls, where the right result is chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from pairalign.align.model import PairAligner
from pairalign.core.errors import DataError
from pairalign.data.graph import edge_name
from pairalign.evaluate.compared import compared, pair_embeddings
from pairalign.evaluate.geometry import alignment, edge_dimensions, modality_gap, uniformity
from pairalign.evaluate.intervals import encode_labels
from pairalign.evaluate.pool import EvalPool
from pairalign.evaluate.probes import measure_probes as measure_probes
from pairalign.evaluate.retrieval import agreement, bidirectional

Visible = Mapping[str, Sequence[str]]


def measured_pairs(aligner: PairAligner, pool: EvalPool) -> dict[tuple[str, str], tuple[str, ...]]:
    """Every pair of the pool's modalities that a path joins, with that path; trained edges first."""
    trained = [edge for edge in aligner.graph.edges if all(end in pool.latents for end in edge)]
    joined: dict[tuple[str, str], tuple[str, ...]] = {edge: edge for edge in trained}
    for a, b in combinations(pool.latents, 2):
        path = aligner.graph.path(a, b)
        if path and (a, b) not in joined and (b, a) not in joined:
            joined[(a, b)] = path
    return joined


def measure_pair(
    aligner: PairAligner,
    pool: EvalPool,
    pair: tuple[str, str],
    path: tuple[str, ...],
    *,
    visible: Visible | None = None,
    same_group: bool = False,
    seed: int = 0,
) -> dict[str, Any]:
    """Retrieval both ways, agreement on factors, geometry and active dimensions of one pair of modalities."""
    a, b = pair_embeddings(aligner, pool, *pair)
    found = compared(aligner, pool, pair)
    settings: dict[str, Any] = {"relevant": found.relevant, "groups": found.clusters, "seed": seed}
    record: dict[str, Any] = {
        "status": "trained" if len(path) == 2 else "emergent",
        "path": list(path),
        "retrieval": bidirectional(found.a, found.b, **settings),
    }
    if same_group:
        if found.groups is None:
            raise DataError("same_group: the pairs record no group: pack them with a group column.")
        record["retrieval_same_group"] = bidirectional(found.a, found.b, restrict=found.groups, **settings)
    if pool.factors:
        record["agreement"] = _agreement(a, b, pool, pair, path, visible, seed)
    gate = aligner.path_gate(*pair).detach().cpu()
    record["geometry"] = {
        "alignment": alignment(a, b),
        "uniformity": {pair[0]: uniformity(a), pair[1]: uniformity(b)},
        "modality_gap": modality_gap(a, b),
    }
    one, other = (pool.latents[end].shared for end in pair)
    record["dimensions"] = edge_dimensions(one, other, gate)
    return record


def _agreement(
    a: Tensor,
    b: Tensor,
    pool: EvalPool,
    pair: tuple[str, str],
    path: tuple[str, ...],
    visible: Visible | None,
    seed: int,
) -> dict[str, Any]:
    """Top-1 agreement, both ways: on all factors that the whole path sees, and on each factor alone."""
    seen = [f for f in pool.factors if visible is None or all(f in visible[m] for m in path)]

    def both(factors: Sequence[str]) -> dict[str, Any]:
        settings: dict[str, Any] = {"groups": pool.clusters, "seed": seed}
        forward = agreement(a, b, pool.factors, pool.factors, factors, **settings)
        backward = agreement(b, a, pool.factors, pool.factors, factors, **settings)
        return {"forward": forward, "backward": backward}

    record: dict[str, Any] = {"factors": seen, "each": {f: both([f]) for f in pool.factors}}
    record["control"] = [f for f in pool.factors if f not in seen]
    for factor in record["control"]:
        chance = _control_chance(pool, seen, factor)
        record["each"][factor] = {way: replace(s, chance=chance) for way, s in record["each"][factor].items()}
    if seen:
        record["all"] = both(seen)
    return record


def _control_chance(pool: EvalPool, seen: Sequence[str], factor: str) -> float:
    """Agreement on a control factor for a perfect retrieval that knows nothing of it: a random pick among the samples
    that agree on what the path does see. In a small pool that is often the sample itself: above a random pick."""
    (codes,) = encode_labels(pool.factors[factor])
    kinds = list(zip(*(pool.factors[f] for f in seen), strict=True)) if seen else [()] * len(pool.keys)
    (groups,) = encode_labels(kinds)
    (both,) = encode_labels(list(zip(groups.tolist(), codes.tolist(), strict=True)))
    agree, same_group = (numbers.bincount()[numbers] for numbers in (both, groups))
    return float((agree / same_group).mean())


def gate_table(aligner: PairAligner) -> dict[str, Tensor]:
    """Edge name -> gate (d_s,), for the picture of which dimensions each edge uses."""
    return {edge_name(edge): aligner.gates(edge).detach().cpu() for edge in aligner.graph.edges}


def encode_texts(aligner: PairAligner, text: str, other: str, prompts: list[str]) -> Tensor:
    """Unit vectors (n, d_s) of prompts, in the dimensions that the path to modality `other` carries."""
    encoder = aligner.encoder(text)
    device = next(aligner.parameters()).device
    with torch.no_grad():
        batch = encoder.collate([encoder.preprocess(prompt) for prompt in prompts]).to(device)
        return aligner.embed(text, batch, other).cpu()
