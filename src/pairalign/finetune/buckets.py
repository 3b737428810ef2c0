"""Batches of prompts of like length: padding is paid for as words are, and a batch is as long as its longest prompt.

    train: {length_buckets: true}       # or how many steps are looked at together

The samples of so many steps of a task are sorted by length and dealt out again to these steps, whose turns are drawn
anew, so that lengths do not rise along them. All tasks draw the same turns: the short ones of each meet.
Every sample stays within its window and its pass, and is seen once in it, as without. The order follows from the seed,
the lengths and the place in the run alone, so that processes, workers and a run that goes on after a kill agree on it.

Note:
    Counted are the tokens of questions and answers, all that a sample has, and not those of pictures: a base that gives
    larger pictures more tokens gains less. Every text of the training tasks is read and tokenized once more before the
    first step. Like lengths may be like samples, which meet in one batch then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from pairalign.finetune.collator import Collator
from pairalign.finetune.said import said_texts
from pairalign.finetune.tasks import Task

STEPS = 32  # looked at together, where nobody says how many
CHUNK = 1024  # texts tokenized at once


@dataclass(frozen=True)
class Buckets:
    """The order of one task's samples. lengths: by place in stored order. starts: of each shard there. size: places of
    the task in a step. steps: looked at together."""

    lengths: np.ndarray
    starts: np.ndarray
    size: int
    steps: int
    seed: int

    def __call__(self, order: np.ndarray, epoch: int) -> np.ndarray:
        """An epoch's order of (shard, place), (N, 2), in another one; see `stream_order`."""
        steps = (epoch * len(order) + np.arange(len(order))) // self.size
        lengths = self.lengths[self.starts[order[:, 0]] + order[:, 1]]
        ends = np.flatnonzero(np.diff(steps // self.steps)) + 1
        parts = (np.split(whole, ends) for whole in (order, steps, lengths))
        return np.concatenate([self._sorted(*part) for part in zip(*parts, strict=True)])

    def _sorted(self, order: np.ndarray, steps: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """What of one pass lies in one window: the shortest for the step whose turn is first, and so on."""
        window, within = np.divmod(steps, self.steps)
        draw = np.random.Generator(np.random.PCG64([self.seed, 2, int(window[0])]))
        turns = draw.permutation(self.steps)[within]
        found = np.empty_like(order)
        found[np.argsort(turns, kind="stable")] = order[np.argsort(lengths, kind="stable")]
        return found


def bucketed(
    tasks: Sequence[Task], places: Sequence[Sequence[int]], steps: int | bool, seed: int, collate: Collator
) -> list[Buckets | None]:
    """The order of each task's samples; `None` where it is to stay, as all do without steps. places: of each task in
    each batch of a step."""
    if not steps:
        return [None for _ in tasks]
    counts = [sum(batch[n] for batch in places) for n in range(len(tasks))]
    window = STEPS if steps is True else int(steps)
    return [
        Buckets(count_tokens(task, collate.tokenizer), np.array(task.starts), count, window, seed) if count else None
        for task, count in zip(tasks, counts, strict=True)
    ]


def count_tokens(task: Task, tokenizer: Any) -> np.ndarray:
    """Tokens of what each sample asks and answers, (N,) in stored order; 0 of a damaged one."""
    found = np.zeros(len(task), np.int64)
    said = said_texts(task)
    while chunk := list(islice(said, CHUNK)):
        tokens = tokenizer([text for _, _, text in chunk], add_special_tokens=False)["input_ids"]
        for (sample, _, _), own in zip(chunk, tokens, strict=True):
            found[sample.position] += len(own)
    return found
