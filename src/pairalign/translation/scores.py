"""Which factors can be read from what was drawn: one probe of true signals, asked about every column of the table.

Note:
    Chance is not 1 / classes. It is what the same answers score when they are dealt out at random, so that a probe that
    always says the same scores exactly chance. Of a factor that only one side sees, they are dealt out among samples
    that agree in all that both see, because a drawing may well know those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pairalign.evaluate.intervals import Score, encode_labels, wilson
from pairalign.evaluate.probe import linear_probe
from pairalign.translation.looks import components

SEEN = 0.1  # of the way from chance to certainty that a side must be read to see a factor
STRATUM = 5  # samples of equal seen factors, on average, that make dealing out among them worth it
PENALTIES = (1e-2,)


def read_factor(
    train: Tensor, labels: Sequence[Any], columns: Mapping[str, Tensor], truth: Sequence[Any], seed: int = 0
) -> dict[str, Tensor]:
    """Which of its classes a probe of true samples says of each column (n, D): numbers as `encode_labels` gives them to
    `labels`, n each. Labels are compared as text."""
    names, tests = list(columns), list(columns.values())
    known = [str(label) for label in labels]
    asked = [str(label) for label in truth] * len(tests)
    found = linear_probe(train, known, torch.cat(tests), asked, penalties=PENALTIES, samples=1, seed=seed)
    return dict(zip(names, found.predicted.split([len(x) for x in tests]), strict=True))


def accuracy(said: Tensor, truth: Tensor, strata: Tensor | None, clusters: Sequence[int] | None) -> Score:
    """Share of right answers with its Wilson interval, of as many samples as there are clusters, and its chance."""
    share = float((said == truth).double().mean())
    units = len(truth) if clusters is None else len(set(clusters))
    bound = wilson(share * units, units, chance=luck(said, truth, strata))
    return replace(bound, value=share, n=len(truth), clusters=None if clusters is None else units)


def luck(said: Tensor, truth: Tensor, strata: Tensor | None = None) -> float:
    """What the same answers score when they are dealt out at random, within each stratum."""
    groups = torch.zeros_like(truth) if strata is None else strata
    total = 0.0
    for group in groups.unique():
        mine = groups == group
        size = int(max(said.max(), truth.max())) + 1
        asked, answered = (x[mine].bincount(minlength=size).double() for x in (truth, said))
        total += float((asked * answered).sum() / mine.sum())
    return total / len(truth)


def sees(train: Tensor, labels: Sequence[Any], test: Tensor, truth: Sequence[Any], seed: int = 0) -> bool:
    """Whether a factor can be read from true samples of one side."""
    known, asked = encode_labels([str(x) for x in labels], [str(x) for x in truth])
    if len(known.unique()) < 2:
        return False
    one, other = components(train, test)
    score = accuracy(read_factor(one, labels, {"": other}, truth, seed)[""], asked, None, None)
    assert score.chance is not None
    return score.low > score.chance + SEEN * (1 - score.chance)


def strata_of(factors: Mapping[str, Sequence[Any]], seen: Sequence[str]) -> Tensor | None:
    """A number for each sample, equal for those that agree in all `seen` factors; `None` where that leaves too few."""
    if not seen:
        return None
    (codes,) = encode_labels(list(zip(*(map(str, factors[name]) for name in seen), strict=True)))
    return codes if len(codes) >= STRATUM * len(codes.unique()) else None
