"""Keyword scores: precision, recall and F1 of the adjectives in descriptions, against reference adjectives.

    hits = size of the largest one-to-one matching of answered with reference phrases, equal or synonyms
    P = hits / answered,  R = hits / reference,  F1 = 2 hits / (answered + reference)

micro: over all samples together; macro: mean over samples. Source of synonyms: TVL (arXiv:2402.13232) ships
`synonyms.json`, adjective → list.

Note:
    Synonyms hold in both directions and do not chain; one-to-one means that ten words for one reference hit it once. An
    empty answer scores 0 in all three.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from pairalign.core.errors import DataError
from pairalign.core.limits import parse_json
from pairalign.evaluate.generation.words import Phrase, adjectives, named
from pairalign.evaluate.intervals import Score, bootstrap, wilson

METRICS = ("precision", "recall", "f1")


@dataclass(frozen=True)
class Lexicon:
    """synonyms: pairs of phrases that stand for each other, each stored both ways. vocabulary: phrases to look for."""

    synonyms: frozenset[tuple[Phrase, Phrase]] = frozenset()
    vocabulary: frozenset[Phrase] = frozenset()

    def adjectives(self, text: str) -> list[Phrase]:
        """The distinct phrases of a text."""
        return adjectives(text, self.vocabulary)

    def alike(self, a: Phrase, b: Phrase) -> bool:
        """Equal, or synonyms."""
        return a == b or (a, b) in self.synonyms


def build_lexicon(synonyms: Mapping[str, Iterable[str]] | None = None, words: Iterable[str] = ()) -> Lexicon:
    """From synonyms (adjective → others) and further adjectives; all of them are the vocabulary."""
    pairs: set[tuple[Phrase, Phrase]] = set()
    known = {named(word) for word in words}
    for word, others in (synonyms or {}).items():
        for other in others:
            a, b = named(word), named(other)
            pairs |= {(a, b), (b, a)}
        known |= {named(word), *map(named, others)}
    return Lexicon(frozenset(pair for pair in pairs if all(pair)), frozenset(known - {()}))


def read_synonyms(path: str | Path) -> dict[str, list[str]]:
    """A JSON object of adjective → list of adjectives; raise `DataError` for anything else."""
    try:
        values = parse_json(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"synonyms {str(path)!r} cannot be read: {error}") from error
    right = isinstance(values, dict) and all(
        isinstance(others, list) and all(isinstance(other, str) for other in others) for others in values.values()
    )
    if not right:
        raise DataError(f'synonyms {str(path)!r}: give a JSON object such as {{"soft": ["plush", "fluffy"]}}.')
    return values


def count_hits(answered: Sequence[Phrase], reference: Sequence[Phrase], lexicon: Lexicon) -> int:
    """Size of the largest one-to-one matching, by augmenting paths (Kuhn 1955)."""
    edges = [[j for j, right in enumerate(reference) if lexicon.alike(said, right)] for said in answered]
    owner: dict[int, int] = {}

    def place(i: int, tried: set[int]) -> bool:
        for j in edges[i]:
            if j not in tried:
                tried.add(j)
                if j not in owner or place(owner[j], tried):
                    owner[j] = i
                    return True
        return False

    return sum(place(i, set()) for i in range(len(answered)))


@dataclass(frozen=True)
class Counts:
    """Of every sample: hits, answered phrases and reference phrases, each (N,) float64."""

    hits: Tensor
    answered: Tensor
    reference: Tensor

    def each(self, metric: str) -> Tensor:
        """The metric of every sample, (N,); 0 where nothing was answered."""
        return self._ratio(metric, self.hits, self.answered, self.reference)

    def micro(self, metric: str) -> Callable[[Tensor], Tensor]:
        """For `bootstrap`: the metric over weighted samples together."""
        return lambda w: self._ratio(metric, w @ self.hits, w @ self.answered, w @ self.reference)

    def macro(self, metric: str) -> Callable[[Tensor], Tensor]:
        """For `bootstrap`: the weighted mean of every sample's metric."""
        each = self.each(metric)
        return lambda w: (w @ each) / w.sum(1)

    @staticmethod
    def _ratio(metric: str, hits: Tensor, answered: Tensor, reference: Tensor) -> Tensor:
        below = {"precision": answered, "recall": reference, "f1": (answered + reference) / 2}[metric]
        return hits / below.clamp_min(torch.finfo(torch.float64).tiny)


def count_all(answers: Sequence[Sequence[Phrase]], references: Sequence[Sequence[Phrase]], lexicon: Lexicon) -> Counts:
    """Hits of every answer against its reference."""
    rows = [
        (count_hits(said, right, lexicon), len(said), len(right))
        for said, right in zip(answers, references, strict=True)
    ]
    hits, answered, reference = torch.tensor(rows, dtype=torch.float64).unbind(1)
    return Counts(hits, answered, reference)


@dataclass(frozen=True)
class KeywordScores:
    """micro and macro: `Score` by metric, each with the higher of both chances; chance: value by "frequent" and
    "shuffled", then by "micro" and "macro", then by metric.
    """

    micro: dict[str, Score]
    macro: dict[str, Score]
    chance: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)


def plain_scores(counts: Counts) -> dict[str, dict[str, float]]:
    """micro and macro by metric, without intervals."""
    ones = torch.ones(1, len(counts.hits), dtype=torch.float64)
    return {
        "micro": {metric: float(counts.micro(metric)(ones)) for metric in METRICS},
        "macro": {metric: float(counts.macro(metric)(ones)) for metric in METRICS},
    }


def score_counts(
    counts: Counts,
    chance: Mapping[str, dict[str, dict[str, float]]],
    groups: Sequence[object] | None = None,
    seed: int = 0,
) -> KeywordScores:
    """Scores with 95 % bootstrap intervals; whole `groups` are resampled. chance: as in `KeywordScores`.

    Where no resample differs (no hit anywhere, say), the Wilson interval of as many samples or groups stands in.
    """

    def scores(mean: str) -> dict[str, Score]:
        found = {}
        for metric in METRICS:
            level = max((by[mean][metric] for by in chance.values()), default=None)
            statistic = counts.micro(metric) if mean == "micro" else counts.macro(metric)
            score = bootstrap(statistic, len(counts.hits), groups=groups, chance=level, seed=seed)  # type: ignore[arg-type]
            if score.low == score.high:
                units = score.clusters or score.n
                bound = wilson(min(1.0, score.value) * units, units)
                score = replace(score, low=bound.low, high=bound.high)
            found[metric] = score
        return found

    return KeywordScores(scores("micro"), scores("macro"), dict(chance))
