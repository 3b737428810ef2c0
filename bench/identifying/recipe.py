"""What the identifiability study trains: stage one's own aligner and loss, on a world's pairs.

Source: the terms of "Multimodal LLMs under Pairwise Modalities" (2026, arXiv:2605.21059), through
`PairAligner`, so that the study measures the library's recipe and not a copy of it.

Note:
    Cosine similarity is blind to the length of a latent, in which an encoder can then hide a private factor, and the
    minimal norm needs noise of a fixed size to bite on. Hence distances, and noise of 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from identifying.worlds import World
from pairalign.align.model import PairAligner, Side
from pairalign.align.reconstruct.values import ValueDecoder
from pairalign.core.config import LatentConfig, LossConfig
from pairalign.core.encoder import Encoder
from pairalign.core.errors import ConfigError, did_you_mean
from pairalign.core.types import Features, Signal
from pairalign.schedule import warmup_cosine

FULL = LossConfig(
    similarity="euclidean",
    contrast=0.15,
    reconstruct=1.0,
    minimal=0.1,
    gate=0.06,
    noise=1.0,
    scale=0.25,
    scale_min=1e-3,
)

PENALTIES = ("minimal", "gate")

VARIANTS: dict[str, dict[str, Any]] = {
    "full": {},
    "no reconstruction": {"reconstruct": 0.0},
    "no gates": {"gates": False},
    "no minimal norm": {"minimal": 0.0},
}
"""Name → what changes in the `LossConfig` of the full recipe."""


@dataclass(frozen=True)
class StudyConfig:
    """How the study trains and measures.

    loss: the full recipe. shared, private: latent dimensions per modality, more than the blocks need. hidden:
    width of encoders and decoders. steps: of `batch_size` fresh pairs per edge. lr: of Adam, ten times that
    for gates and scales, warmed up over `warmup` steps, then a cosine. ramp: steps over which the two
    penalties rise to their weight. samples: joint samples that R² is measured on, fitted on one half and
    tested on the other, both ways.
    """

    loss: LossConfig = field(default_factory=lambda: FULL)
    shared: int = 12
    private: int = 4
    hidden: int = 96
    steps: int = 1200
    batch_size: int = 256
    lr: float = 3e-3
    warmup: int = 100
    ramp: int = 400
    samples: int = 1200


class VectorEncoder(Encoder):
    """An MLP on vectors of `observed` entries."""

    reconstruct = "values"

    def __init__(self, observed: int, width: int) -> None:
        super().__init__(width)
        self.signal = Signal("vector", (observed,))
        self.net = nn.Sequential(nn.Linear(observed, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def forward(self, batch: Tensor) -> Features:
        """(B, observed) → one token and the pooled feature (B, width)."""
        pooled = self.net(batch)
        return Features(pooled[:, None], pooled)


def variant_loss(loss: LossConfig, variant: str) -> LossConfig:
    """The full recipe with one piece taken out; an unknown variant is a `ConfigError`."""
    if variant not in VARIANTS:
        raise ConfigError(f"variant {variant!r} is not known.{did_you_mean(variant, list(VARIANTS))}")
    return dataclasses.replace(loss, **VARIANTS[variant])


def build(world: World, config: StudyConfig, loss: LossConfig, seed: int) -> PairAligner:
    """An untrained aligner for a world, its weights drawn from `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoders = {m: VectorEncoder(len(mixing.mean), config.hidden) for m, mixing in world.mixings.items()}
        aligner = PairAligner(encoders, world.graph, LatentConfig(config.shared, config.private, hidden=0), loss)
        for modality in aligner.decoders:  # as wide as the encoder; the default is made for real sensors
            signal, latent = encoders[modality].signal, config.shared + config.private
            aligner.decoders[modality] = ValueDecoder(signal, latent, config.hidden)
    return aligner


def train(
    world: World,
    config: StudyConfig,
    loss: LossConfig,
    seed: int,
    progress: Callable[[int], object] | None = None,
) -> PairAligner:
    """Train on fresh pairs of every edge in every step and return the aligner in evaluation mode.

    `progress` is called with 1 after each step. torch's global generator is left as it was.
    """
    aligner = build(world, config, loss, seed).train()
    optimizer, schedule = _optimizer(aligner, config)
    generator, ids = torch.Generator().manual_seed(seed + 1), torch.arange(config.batch_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # the noise on the latents
        for step in range(config.steps):
            # a dimension that both sides have switched off gets no gradient back: let it find its use first
            rise = min(1.0, (step + 1) / max(1, config.ramp))
            losses = []
            for edge in world.graph.edges:
                a, b = world.pairs(edge, config.batch_size, generator)
                terms = aligner.edge_terms(edge, Side(a, ids), Side(b, ids))
                losses.append(aligner.total({k: rise * v if k in PENALTIES else v for k, v in terms.items()}))
            optimizer.zero_grad()
            torch.stack(losses).sum().backward()
            optimizer.step()
            schedule.step()
            if progress is not None:
                progress(1)
    return aligner.eval()


def _optimizer(
    aligner: PairAligner, config: StudyConfig
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    fast = [*aligner.gates.parameters(), *aligner.scales.parameters()]
    slow = [p for part in (aligner.encoders, aligner.heads, aligner.decoders) for p in part.parameters()]
    optimizer = torch.optim.Adam(
        [{"params": slow, "lr": config.lr}, {"params": fast, "lr": 10 * config.lr}], fused=True
    )

    rate = partial(warmup_cosine, steps=config.steps, warmup=config.warmup)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
