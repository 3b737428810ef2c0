"""True samples of one modality, encoded: what drawings are compared with, filled in from and retrieved among.

Note:
    Pictures themselves are not kept, only where they are stored, so that thousands fit; the mean picture is summed up
    on the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pairalign.align.latents import Latents
from pairalign.align.run import AlignRun
from pairalign.core.errors import DataError
from pairalign.data.place import ShardPlace
from pairalign.data.reader import RawSample
from pairalign.data.shards import count_samples, read_samples
from pairalign.evaluate.pool import factors_of
from pairalign.translation.crossing import joined
from pairalign.translation.looks import Look
from pairalign.translation.samples import Source, batches

SIZE = 2000


@dataclass(frozen=True)
class Gallery:
    """N true samples of a modality.

    sources, total: where they are from, and how many there are. rows: source, position in its order, and key of each.
    latents, pooled: on the CPU. factors: name -> N labels, of those that all samples have. seen: by probe, (N, D).
    mean: the mean signal as it is drawn, `None` where sizes differ. low, high: darkest and lightest value by channel.
    """

    modality: str
    sources: tuple[Source, ...]
    total: int
    seed: int
    rows: list[tuple[Source, int, str]]
    latents: Latents
    pooled: Tensor
    factors: dict[str, list[Any]]
    seen: dict[str, Tensor]
    mean: Tensor | None
    low: Tensor | None
    high: Tensor | None
    bad: list[tuple[str, str]] = field(default_factory=list)

    def about(self) -> dict[str, Any]:
        """Which samples these are, for a record."""
        return {"samples": len(self.rows), "of": self.total, "from": [str(source) for source in self.sources]}

    def stored(self, run: AlignRun, rows: Sequence[int]) -> list[RawSample]:
        """Some of them as they are stored, in the order of `rows`."""
        name = run.config.modalities[self.modality].source or self.modality
        found: dict[tuple[ShardPlace, str, int], RawSample] = {}
        for source in self.sources:
            take = sorted({self.rows[row][1] for row in rows if self.rows[row][0] == source})
            options: dict[str, Any] = {"shuffle": count_samples(*source), "seed": self.seed}
            for sample in read_samples(*source, [name], take=np.array(take, np.int64), **options) if take else ():
                found[(*source, sample.position)] = sample
        return [found[(*self.rows[row][0], self.rows[row][1])] for row in rows]


def read_gallery(
    run: AlignRun,
    modality: str,
    sources: Sequence[Source],
    look: Look | None = None,
    *,
    limit: int = SIZE,
    seed: int = 0,
    progress: bool = False,
) -> Gallery:
    """Encode at most `limit` samples. look: also note what probes see of them. Raise `DataError` below two."""
    bad: list[tuple[str, str]] = []
    rows: list[tuple[Source, int, str]] = []
    metas: list[Any] = []
    latents, pooled, seen = list[Latents](), list[Tensor](), dict[str, list[Tensor]]()
    light = _Light()
    for source, batch in batches(run, sources, [modality], limit=limit, seed=seed, bad=bad, progress=progress):
        side = batch.sides[modality]
        rows += [(source, sample.position, sample.key) for sample in batch.samples]
        metas += [sample.meta for sample in batch.samples]
        latents.append(Latents(*(z.cpu() for z in side.latents)))
        pooled.append(side.pooled.cpu())
        if look is not None:
            drawn = look.value(side.value)
            for name, features in look.features(drawn, side.pooled).items():
                seen.setdefault(name, []).append(features)
            if look.fixed:
                light.add(drawn, run.aligner.encoder(modality).signal.axes)
    if len(rows) < 2:
        first = f" First left out: {bad[0][0]}: {bad[0][1]}" if bad else ""
        where = ", ".join(map(str, sources))
        raise DataError(f"{len(rows)} usable samples of {modality!r} in {where}: give at least two.{first}")
    total = sum(count_samples(*source) for source in sources)
    return Gallery(
        modality,
        tuple(sources),
        total,
        seed,
        rows,
        joined(latents),
        torch.cat(pooled),
        factors_of(metas),
        {name: torch.cat(parts) for name, parts in seen.items()},
        light.mean,
        light.low,
        light.high,
        bad,
    )


class _Light:
    """Mean, smallest and largest of signals of one size, batch by batch."""

    def __init__(self) -> None:
        self.count, self.total = 0, torch.zeros(())
        self.low: Tensor | None = None
        self.high: Tensor | None = None

    @property
    def mean(self) -> Tensor | None:
        """(*signal.shape)."""
        return (self.total / self.count).float() if self.count else None

    def add(self, batch: Tensor, axes: Sequence[str]) -> None:
        """Take note of (B, *signal.shape); a channel's own bounds where an axis is named so."""
        batch = batch.cpu().double()
        self.count, self.total = self.count + len(batch), self.total + batch.sum(0)
        others = [n for n in range(batch.ndim) if n == 0 or axes[n - 1 : n] != ("channel",)]
        low, high = batch.amin(others, keepdim=True)[0].float(), batch.amax(others, keepdim=True)[0].float()
        self.low = low if self.low is None else torch.minimum(self.low, low)
        self.high = high if self.high is None else torch.maximum(self.high, high)
