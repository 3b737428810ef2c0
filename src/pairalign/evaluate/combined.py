"""Intervals of a mean of scores and of a difference of two, from the scores' own intervals.

Source: Newcombe 1998 (square-and-add of Wilson intervals); Zou & Donner 2008 (the same for other sums).

Note:
    The scores count as independent. Two that were measured on the same questions mostly move together, and the interval
    of their difference is then too wide, never too narrow: it claims no change that is not there.
"""

from __future__ import annotations

from collections.abc import Sequence

from pairalign.evaluate.intervals import Score


def mean_of(scores: Sequence[Score]) -> Score:
    """The plain mean of shares (or of differences) of different samples; chance where all have it."""
    parts = len(scores)
    value = sum(score.value for score in scores) / parts
    down = sum((score.value - score.low) ** 2 for score in scores) ** 0.5 / parts
    up = sum((score.high - score.value) ** 2 for score in scores) ** 0.5 / parts
    levels = [score.chance for score in scores if score.chance is not None]
    chance = sum(levels) / parts if len(levels) == parts else None
    count = sum(score.n for score in scores)
    return Score(value, value - down, value + up, count, chance, level=scores[0].level)


def difference(after: Score, before: Score) -> Score:
    """after − before; chance is 0, no change."""
    value = after.value - before.value + 0.0
    down = ((after.value - after.low) ** 2 + (before.high - before.value) ** 2) ** 0.5
    up = ((after.high - after.value) ** 2 + (before.value - before.low) ** 2) ** 0.5
    return Score(value, value - down, value + up, min(after.n, before.n), 0.0, level=after.level)


def points(score: Score, times: float = 100.0) -> Score:
    """A share, or a difference of shares, in points; −100 turns what was gained into what was lost."""
    low, high = sorted((times * score.low, times * score.high))
    chance = None if score.chance is None else times * score.chance + 0.0
    return Score(times * score.value + 0.0, low, high, score.n, chance, score.clusters, score.level)
