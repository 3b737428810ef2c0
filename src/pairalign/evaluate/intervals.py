"""One measured number with its uncertainty (`Score`), and the ways to get that uncertainty.

Source: Efron & Tibshirani 1993 (percentile bootstrap); Field & Welsh 2007 (cluster bootstrap); Wilson 1927.

Note:
    Samples of one object, session or caption are not independent. Resampling them one by one gives an interval that is
    far too narrow; pass `groups` and whole groups are resampled instead.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pairalign.core.errors import ConfigError, DataError

Labels = Sequence[Hashable] | Tensor
SAMPLES = 1000
LEVEL = 0.95


@dataclass(frozen=True)
class Score:
    """A measured value, its confidence interval, the number of samples behind it and what chance would give.

    value, low, high: in the metric's own unit, `low` and `high` bound the `level` confidence interval.
    n: samples measured. clusters: independent groups they fall into, `None` where they count one by one.
    chance: the value expected without any alignment; `None` where the metric has no such level.
    """

    value: float
    low: float
    high: float
    n: int
    chance: float | None = None
    clusters: int | None = None
    level: float = LEVEL

    @property
    def above_chance(self) -> bool:
        """Whether the whole interval lies above chance. `False` where the metric has no chance level."""
        return self.chance is not None and self.low > self.chance

    @property
    def at_chance(self) -> bool:
        """Whether chance lies inside the interval. `False` where the metric has no chance level."""
        return self.chance is not None and self.low <= self.chance <= self.high

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain numbers, for `metrics.json`."""
        return asdict(self)

    def __str__(self) -> str:
        chance = "" if self.chance is None else f", chance {self.chance:.3f}"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]{chance}, n {self.n}"


def encode_labels(*columns: Iterable[Hashable] | Tensor) -> tuple[Tensor, ...]:
    """Number hashable labels, equal ones alike across all columns: one (N,) int64 tensor per column."""
    codes: dict[Hashable, int] = {}
    return tuple(
        torch.tensor(
            [codes.setdefault(label, len(codes)) for label in (c.tolist() if hasattr(c, "tolist") else c)],
            dtype=torch.int64,
        )
        for c in columns
    )


def wilson(successes: float, n: int, *, level: float = LEVEL, chance: float | None = None) -> Score:
    """Wilson score interval of a share. Never degenerate: 10 of 10 gives a lower bound of 0.72, not 1."""
    if n < 1 or not 0 <= successes <= n:
        raise DataError(f"wilson(successes={successes}, n={n}): give 0 <= successes <= n and n >= 1.")
    z = NormalDist().inv_cdf(0.5 + _checked(level) / 2)
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    low, high = max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half))
    return Score(p, low, high, n, chance, level=level)


def resample_weights(
    n: int, *, groups: Labels | None = None, samples: int = SAMPLES, seed: int = 0
) -> Iterator[Tensor]:
    """How often each of `n` samples is drawn in each bootstrap resample: blocks (R, n) float64, `samples`
    rows in all.

    With `groups` (n labels) whole groups are drawn, as many as there are. Blocks keep the memory below 32 MB
    or so.
    """
    if n < 1 or samples < 1:
        raise DataError(f"resample_weights(n={n}, samples={samples}): both must be at least 1.")
    codes = None if groups is None else encode_labels(groups)[0]
    if codes is not None and len(codes) != n:
        raise DataError(f"groups holds {len(codes)} labels for {n} samples: give one group per sample.")
    block = max(1, 4_000_000 // n)
    for start in range(0, samples, block):
        rows = min(block, samples - start)
        if codes is None:
            yield _counts(n, rows, seed, start)
        else:
            yield _counts(int(codes.max()) + 1, rows, seed, start)[:, codes]


def bootstrap(
    statistic: Callable[[Tensor], Tensor],
    n: int,
    *,
    groups: Labels | None = None,
    chance: float | None = None,
    samples: int = SAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Score:
    """Percentile bootstrap of any statistic of weighted samples.

    statistic: maps weights (R, n), non-negative counts, to values (R,). It is called with ones, for the
    value, and with blocks of resamples. Resamples on which it is NaN (an empty class, say) are left out.
    """
    weights = resample_weights(n, groups=groups, samples=samples, seed=seed)
    draws = torch.cat([statistic(block) for block in weights])
    value = float(statistic(torch.ones(1, n, dtype=torch.float64)))
    draws = draws[~draws.isnan()]
    tail = (1 - _checked(level)) / 2
    low, high = (float(draws.quantile(q)) if len(draws) else float("nan") for q in (tail, 1 - tail))
    clusters = None if groups is None else int(encode_labels(groups)[0].max()) + 1
    return Score(value, low, high, n, chance, clusters, level)


def bootstrap_mean(
    values: Tensor | Sequence[float],
    *,
    groups: Labels | None = None,
    chance: float | None = None,
    samples: int = SAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Score:
    """Bootstrap of the mean of `values` (n,).

    Where all values are one same share (all right, all wrong, all at chance), resampling them says nothing:
    the Wilson interval of n samples, or of as many clusters, stands in.
    """
    column = torch.as_tensor(values, dtype=torch.float64).flatten()
    score = bootstrap(
        lambda w: (w @ column) / w.sum(1),
        len(column),
        groups=groups,
        chance=chance,
        samples=samples,
        level=level,
        seed=seed,
    )
    if bool((column == column[0]).all()) and 0 <= score.value <= 1:
        units = score.clusters or score.n
        bound = wilson(score.value * units, units, level=level)
        return Score(score.value, bound.low, bound.high, score.n, chance, score.clusters, level)
    return score


def class_mean(values: Tensor, classes: Tensor) -> Callable[[Tensor], Tensor]:
    """For `bootstrap`: mean over the `classes` (n,) present of the mean of `values` (n,) in each."""
    one_hot = F.one_hot(classes).double()

    def statistic(weights: Tensor) -> Tensor:
        return ((weights * values.double()) @ one_hot / (weights @ one_hot)).nanmean(1)

    return statistic


@lru_cache(maxsize=2)  # the scores of one pool share their resamples; nobody writes into them
def _counts(n: int, rows: int, seed: int, start: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed + 1_000_003 * start)
    drawn = torch.randint(n, (rows, n), generator=generator)
    counts = torch.zeros(rows, n, dtype=torch.float64)
    return counts.scatter_add_(1, drawn, torch.ones(1, dtype=torch.float64).expand(rows, n))


def _checked(level: float) -> float:
    if not 0 < level < 1:
        raise ConfigError(f"level={level!r}: give a confidence level between 0 and 1, such as 0.95.")
    return level
