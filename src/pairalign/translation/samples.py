"""Stored samples as batches that a run's encoders take, with what is known of each.

Note:
    Of a sample with several captions the first one is taken; samples come in a random order, so that the first few
    hundred of a sorted data set stand for all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from pairalign.align.latents import Latents
from pairalign.align.run import AlignRun
from pairalign.align.sources import edge_sources
from pairalign.core.errors import DataError, SignalError
from pairalign.data.index import load_index
from pairalign.data.place import ShardPlace
from pairalign.data.reader import RawSample
from pairalign.data.shards import count_samples, read_samples
from pairalign.evaluate.pool import check_pairs, read_row


class Source(NamedTuple):
    """A split of a shard folder."""

    folder: ShardPlace
    split: str

    def __str__(self) -> str:
        return f"{self.folder}, split {self.split!r}"


class Side(NamedTuple):
    """A batch of one modality: as its encoder takes it, the encoder's pooled features (B, D), and its latents."""

    value: Any
    pooled: Tensor
    latents: Latents


class Batch(NamedTuple):
    """Samples as stored, and each asked modality of them."""

    samples: list[RawSample]
    sides: dict[str, Side]


def training_sources(run: AlignRun, modality: str, beside: str | None = None) -> list[Source]:
    """The shards from which a run learnt a modality: of its pairs with `beside`, or where there are none, of all."""
    edges = [edge for edge in run.config.edges if modality in edge.between]
    both = [edge for edge in edges if beside in edge.between]
    found = {
        (source.folder, source.train): Source(source.folder, source.train)
        for edge in both or edges
        for source in edge_sources(run.config, edge)
    }
    return list(found.values())


def check_sources(run: AlignRun, sources: Sequence[Source], modalities: Sequence[str], fix: str) -> None:
    """Raise `DataError`, with a fix, unless every source is there and holds the modalities."""
    for source in sources:
        try:
            present = check_pairs(run, source.folder, source.split)
        except DataError as error:
            raise DataError(f"{error} {fix}") from error
        missing = [m for m in modalities if m not in present]
        if missing:
            raise DataError(f"{str(source.folder)!r} hold no {missing[0]!r}, only {', '.join(present)}. {fix}")


@torch.no_grad()
def batches(
    run: AlignRun,
    sources: Sequence[Source],
    modalities: Sequence[str],
    *,
    limit: int,
    seed: int = 0,
    bad: list[tuple[str, str]],
    batch_size: int = 64,
    progress: bool = False,
) -> Iterator[tuple[Source, Batch]]:
    """At most `limit` samples of all sources together, an equal share of each, encoded. bad: is given what was left
    out, by key and reason."""
    share = -(-limit // len(sources))
    total = sum(min(share, count_samples(*source)) for source in sources)
    with tqdm(total=total, desc=f"encode {' and '.join(modalities)}", unit="sample", disable=not progress) as bar:
        for source in sources:
            index = load_index(source.folder)
            fields = {m: run.config.modalities[m].source or m for m in modalities}
            names = list(dict.fromkeys(fields.values()))
            size = count_samples(*source)
            stream = read_samples(*source, names, shuffle=size, seed=seed, on_bad=lambda k, r: bad.append((k, r)))
            stored = islice(stream, share)
            while part := list(islice(stored, batch_size)):
                bar.update(len(part))
                good, values = [], {m: list[Tensor]() for m in modalities}
                for sample in part:
                    try:
                        row = read_row(run, sample, fields, index.modalities)
                    except SignalError as error:
                        bad.append((sample.key, str(error)))
                        continue
                    good.append(sample)
                    for m in modalities:
                        values[m].append(row[m][0])
                if good:
                    yield source, Batch(good, {m: encode(run, m, values[m]) for m in modalities})


@torch.no_grad()
def encode(run: AlignRun, modality: str, values: Sequence[Tensor]) -> Side:
    """A batch of preprocessed samples, and what the run knows of it, on the run's device."""
    aligner = run.aligner
    batch = aligner.encoder(modality).collate(list(values)).to(next(aligner.parameters()).device)
    pooled = aligner.encoder(modality)(batch).pooled
    return Side(batch, pooled, aligner.encode(modality, pooled, cached=True))
