"""Do pairs alone identify what modalities share? A study on synthetic worlds whose latents are known.

- `worlds`: known shared and private blocks, mixed by random invertible networks
- `recipe`: stage one's own aligner and loss, whole and with one piece taken out
- `reading`: held-out R² of every true block from every learned part
- `results`, `sweep`: the table, the figures, the heat map; all variants and seeds, resumable

    from identifying import study
    print(study(seeds=(0, 1, 2), progress=True).text())

Source: "Multimodal LLMs under Pairwise Modalities" (2026, arXiv:2605.21059).
"""

from identifying.reading import Cell, read_parts
from identifying.recipe import FULL, VARIANTS, StudyConfig, train, variant_loss
from identifying.results import Result, Study, draw_study
from identifying.sweep import study
from identifying.worlds import Block, World, chain_world

__all__ = [
    "FULL",
    "VARIANTS",
    "Block",
    "Cell",
    "Result",
    "Study",
    "StudyConfig",
    "World",
    "chain_world",
    "draw_study",
    "read_parts",
    "study",
    "train",
    "variant_loss",
]
