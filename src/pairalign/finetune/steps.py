"""Batches of one optimizer step, read together, so that each knows its share of the step's answer tokens beforehand.

With that, losses are divided by the tokens of the whole step before the backward pass, and accumulating, clipping, loss
scaling and reduction over processes work on gradients that are those of one larger batch.

Note:
    As many batches as are accumulated wait in the CPU's memory; a last step may have fewer.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

from torch.utils.data import IterableDataset

from pairalign.data.loading import BatchLoader
from pairalign.finetune.collator import Batch, Part


class StepLoader(BatchLoader[Batch]):
    """A `BatchLoader` whose batches know their `part` of a step of `accumulate` of them."""

    def __init__(
        self, dataset: IterableDataset[Batch], workers: int, plugins: Sequence[str] = (), *, accumulate: int = 1
    ) -> None:
        super().__init__(dataset, workers, plugins)
        self.accumulate = accumulate

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        batches = super().__iter__()
        while step := list(itertools.islice(batches, self.accumulate)):
            tokens = [(batch.tokens, batch.rehearsed_tokens) for batch in step]
            taught, rehearsed = (sum(part) for part in zip(*tokens, strict=True))
            for n, (batch, (own, held)) in enumerate(zip(step, tokens, strict=True)):
                yield replace(batch, part=Part(own, taught, n == 0, held, rehearsed))
