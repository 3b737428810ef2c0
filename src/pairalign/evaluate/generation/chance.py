"""What answering without the sensor scores: the commonest adjectives of training, and another sample's reference.

Note:
    Adjectives of touch are few and repeat, so both are far above zero; a model that has learned the data set's habits
    and reads no sensor reaches the first. The answers of "shuffled" come from another group, where there is more than
    one: a neighbour of the same recording would say the same.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from pairalign.core.errors import DataError
from pairalign.evaluate.generation.keywords import Lexicon, count_all, plain_scores
from pairalign.evaluate.generation.words import Phrase

DRAWS = 10


def frequent_phrases(references: Sequence[Sequence[Phrase]], k: int | None = None) -> list[Phrase]:
    """The `k` commonest phrases, by samples they occur in, ties in alphabetical order; by default as many as a
    reference has on average, rounded.
    """
    if not references:
        raise DataError("frequent_phrases: there are no references to count.")
    k = max(1, round(sum(map(len, references)) / len(references))) if k is None else k
    counts = Counter(found for reference in references for found in set(reference))
    return sorted(counts, key=lambda found: (-counts[found], found))[:k]


def others(groups: Sequence[object], draws: int = DRAWS, seed: int = 0) -> list[list[int]]:
    """For each draw and sample another sample's number: of another group if there are two or more, else any other.

    Raise `DataError` for a single sample.
    """
    if len(groups) < 2:
        raise DataError("shuffled: one sample has no other to be mixed up with: give at least two.")
    draw, found = random.Random(seed), []
    single = len(set(groups)) == 1
    for _ in range(draws):
        row = []
        for i, group in enumerate(groups):
            j = draw.randrange(len(groups))
            while j == i or (groups[j] == group and not single):
                j = draw.randrange(len(groups))
            row.append(j)
        found.append(row)
    return found


def chance_scores(
    references: Sequence[Sequence[Phrase]],
    frequent: Sequence[Phrase],
    groups: Sequence[object],
    lexicon: Lexicon,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, dict[str, dict[str, float]]]:
    """Micro and macro scores of answering always with `frequent`, and with others' references (mean of `draws`)."""
    shuffled = []
    for row in others(groups, draws, seed):
        shuffled.append(plain_scores(count_all([references[j] for j in row], references, lexicon)))
    mean = {
        kind: {metric: sum(one[kind][metric] for one in shuffled) / draws for metric in shuffled[0][kind]}
        for kind in ("micro", "macro")
    }
    always = plain_scores(count_all([list(frequent)] * len(references), references, lexicon))
    return {"frequent": always, "shuffled": mean}
