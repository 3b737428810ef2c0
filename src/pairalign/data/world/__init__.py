"""The built-in paired world. It is synthetic: rendered from known factors, nothing was recorded."""

from __future__ import annotations

from pairalign.data.world.factors import (
    FACTORS,
    MODALITIES,
    VISIBLE,
    combinations,
    is_novel,
    novel_triples,
    shared_factors,
)
from pairalign.data.world.streams import SPLITS, pairs, pool
from pairalign.data.world.text import parse_caption, vocabulary
from pairalign.data.world.world import World

__all__ = [
    "FACTORS",
    "MODALITIES",
    "SPLITS",
    "VISIBLE",
    "World",
    "combinations",
    "is_novel",
    "novel_triples",
    "pairs",
    "parse_caption",
    "pool",
    "shared_factors",
    "vocabulary",
]
