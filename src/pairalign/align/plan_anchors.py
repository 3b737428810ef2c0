"""What the anchors of frozen towers cost in a plan: measured on real batches, counted over everything to be cached.

A run computes a frozen tower once for each view of each sample and reads it from its cache in every step, so that a
plan must time steps with cached anchors.

Note:
    The estimate is an upper one, because captions that repeat are computed once, and because the first batches on a GPU
    are slow.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from pairalign.align.cache import find_cache
from pairalign.align.dataset import PairBatch
from pairalign.align.model import PairAligner, Side
from pairalign.align.sources import cache_home, pools_of, recorded_of
from pairalign.core.config import AlignConfig
from pairalign.data.index import load_index


@dataclass(frozen=True)
class Anchors:
    """Of one frozen modality: views that are still to be computed, those found in its caches, and seconds for each."""

    missing: int
    found: int
    each: float

    @property
    def seconds(self) -> float:
        """Of computing what is missing, once."""
        return self.missing * self.each


@torch.no_grad()
def cached_batches(
    aligner: PairAligner, batches: Mapping[str, PairBatch], device: torch.device
) -> tuple[dict[str, PairBatch], dict[str, float]]:
    """The same batches with features in the place of what frozen towers read, as a cache gives them, and the seconds
    that each of these towers takes for a sample."""
    made, each = dict[str, PairBatch](), dict[str, float]()
    for name, batch in batches.items():
        sides = dict(batch.sides)
        for end, side in batch.sides.items():
            if not aligner.encoder(end).frozen:
                continue
            for timed in range(1 if end in each else 2):  # the first pass warms up
                start = time.perf_counter()
                pooled = aligner.pooled(end, side.to(device)).float().cpu()
                if timed:
                    each[end] = (time.perf_counter() - start) / max(1, len(pooled))
            sides[end] = Side(pooled, side.ids, True)
        made[name] = batch._replace(sides=sides)
    return made, each


def count_anchors(config: AlignConfig, aligner: PairAligner, each: Mapping[str, float]) -> dict[str, Anchors]:
    """What a run would compute of each frozen modality, over the splits of all its data sets."""
    seen: set[Any] = set()
    totals = {end: [0, 0] for end in each}
    for pool in pools_of(config):
        for source in pool.sources:
            index = load_index(source.folder)
            for end in dict.fromkeys(end for edge in pool.edges for end in edge if end in each):
                for split in (source.train, source.val):
                    which = (end, source.folder.resolve(), split, source.sensor)
                    if split is None or split not in index.every_split or which in seen:
                        continue
                    seen.add(which)
                    modality, field = config.modalities[end], config.modalities[end].source or end
                    recorded = recorded_of(source, index.modalities[field], end)
                    views = modality.views if split == source.train else 1
                    found = find_cache(
                        cache_home(config, end, source, split),
                        aligner.encoder(end),
                        modality.options,
                        source.folder,
                        split,
                        field,
                        views=views,
                        seed=config.seed,
                        recorded=recorded,
                    )
                    there = (found.folder / "cache.json").exists()
                    totals[end][there] += index.every_split[split].count * found.views
    return {end: Anchors(missing, found, each[end]) for end, (missing, found) in totals.items()}
