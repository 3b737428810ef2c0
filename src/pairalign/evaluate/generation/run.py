"""`score_descriptions`: everything that is measured of a set of descriptions, as JSON, a table and a page.

Note:
    Samples without an adjective in their reference are left out and counted; what the commonest adjectives of the
    training references score is the chance that matters, so give those references wherever there are some.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from pairalign.core.errors import DataError
from pairalign.evaluate.clusters import clusters_of, one_cluster
from pairalign.evaluate.generation.chance import DRAWS, chance_scores, frequent_phrases
from pairalign.evaluate.generation.endpoint import Endpoint
from pairalign.evaluate.generation.judge import Item, Judged, judge_answers, prompt_of
from pairalign.evaluate.generation.keywords import Counts, KeywordScores, Lexicon, count_all, score_counts
from pairalign.evaluate.generation.page import Shown, build_page
from pairalign.evaluate.generation.published import Published, published
from pairalign.evaluate.generation.words import Phrase, adjectives, is_list, spelled
from pairalign.evaluate.intervals import Score
from pairalign.evaluate.report import text_table, write_metrics
from pairalign.evaluate.verdicts import verdict_of


class Description(NamedTuple):
    """What was said of one sample, what is right, and the sample's meta (group, session)."""

    key: str
    answer: str
    reference: str
    meta: Mapping[str, Any]


@dataclass(frozen=True)
class Scoring:
    """How descriptions are scored.

    protocol: a name in `published.PROTOCOLS`, or `None`. lexicon: synonyms and further adjectives.
    training: references of the training split, for chance; empty where there are none. k: adjectives of the frequent
    answer, by default as many as a reference has. judge: endpoint, `None` for no judge; judge_chance: samples for
    which it also judges the frequent answer. sensor: whose signals are described, for titles and the judge's question.
    """

    protocol: str | None = None
    lexicon: Lexicon = field(default_factory=Lexicon)
    training: Sequence[str] = ()
    k: int | None = None
    judge: Endpoint | None = None
    judge_chance: int = 100
    seed: int = 0
    sensor: str = "touch"


@dataclass(frozen=True)
class Generation:
    """The result as written, the terminal `table`, and the files."""

    result: dict[str, Any]
    table: str
    path: Path
    page: Path


def score_descriptions(
    descriptions: Sequence[Description],
    out: str | Path,
    scoring: Scoring | None = None,
    *,
    about: Mapping[str, Any] | None = None,
    shown: Sequence[Shown] = (),
    synthetic: bool = False,
    progress: bool = True,
) -> Generation:
    """Score descriptions; write `generation.json` and `generation.html` into `out`, judge's replies beside them.

    about: model, pairs and settings of the generation, written as they are. shown: samples for the page.
    Raise `DataError` where fewer than two samples have a reference with adjectives.
    """
    out, scoring = Path(out), scoring or Scoring()
    facts = published(scoring.protocol, scoring.sensor)
    lexicon = with_references(scoring.lexicon, [*scoring.training, *(d.reference for d in descriptions)])
    kept = [d for d in descriptions if lexicon.adjectives(d.reference)]
    if len(kept) < 2:
        raise DataError(
            f"references: {len(kept)} of {len(descriptions)} hold adjectives: give lists of adjectives as references, "
            "or name the adjectives to look for with synonyms or a vocabulary."
        )
    frequent, origin = _frequent(kept, scoring, lexicon)
    counts, scores = _keywords(kept, frequent, lexicon, scoring.seed)
    judged = _judge(kept, frequent, scoring, out, progress) if scoring.judge else None
    result = {
        "protocol": scoring.protocol,
        "title": facts.title,
        "sensor": scoring.sensor,
        "source": facts.source,
        "differs": [*facts.differs, *_warnings(facts, descriptions, kept, scores)],
        **(about or {}),
        "n": len(kept),
        "left_out": len(descriptions) - len(kept),
        "clusters": scores.micro["f1"].clusters,
        "seed": scoring.seed,
        "verdicts": [verdict_of("adjectives named", "task", "F1, micro", {"F1": scores.micro["f1"]})],
        "keywords": _record(scores, frequent, origin, lexicon),
        "judge": judged,
    }
    path = write_metrics(out / "generation.json", result)
    each = dict(zip((d.key for d in kept), counts.each("f1").tolist(), strict=True))
    page = build_page(result, rows(scores, judged), shown, each, synthetic=synthetic).write(out / "generation.html")
    return Generation(result, text_table(*rows(scores, judged), title=f"{facts.title} (n = {len(kept)})"), path, page)


def with_references(lexicon: Lexicon, references: Sequence[str]) -> Lexicon:
    """The lexicon with every phrase of those references that are lists."""
    found = {one for text in set(references) if is_list(text) for one in adjectives(text)}
    return replace(lexicon, vocabulary=lexicon.vocabulary | found)


def _frequent(kept: Sequence[Description], scoring: Scoring, lexicon: Lexicon) -> tuple[list[Phrase], str]:
    training = [found for text in scoring.training if (found := lexicon.adjectives(text))]
    if training:
        return frequent_phrases(training, scoring.k), "training references"
    own = [lexicon.adjectives(d.reference) for d in kept]
    return frequent_phrases(own, scoring.k), "the measured references themselves: no training references were given"


def _keywords(
    kept: Sequence[Description], frequent: Sequence[Phrase], lexicon: Lexicon, seed: int
) -> tuple[Counts, KeywordScores]:
    references = [lexicon.adjectives(d.reference) for d in kept]
    counts = count_all([lexicon.adjectives(d.answer) for d in kept], references, lexicon)
    groups = clusters_of([d.meta for d in kept])
    chance = chance_scores(references, frequent, groups or range(len(kept)), lexicon, seed=seed)
    return counts, score_counts(counts, chance, groups, seed)


def _record(scores: KeywordScores, frequent: Sequence[Phrase], origin: str, lexicon: Lexicon) -> dict[str, Any]:
    return {
        "micro": scores.micro,
        "macro": scores.macro,
        "chance": {
            "frequent": scores.chance["frequent"] | {"stems": [" ".join(p) for p in frequent], "of": origin},
            "shuffled": scores.chance["shuffled"] | {"draws": DRAWS, "of": "another sample's reference"},
        },
        "synonym_pairs": len(lexicon.synonyms) // 2,
        "vocabulary": len(lexicon.vocabulary),
        "negation": "not handled: 'not soft' counts as soft",
    }


def _warnings(
    facts: Published, descriptions: Sequence[Description], kept: Sequence[Description], scores: KeywordScores
) -> list[str]:
    found = []
    scored = {d.key for d in kept}
    if out := [d for d in descriptions if d.key not in scored]:
        first = f"{out[0].key}: {out[0].reference!r}"
        found.append(f"{len(out)} samples are left out, for their reference names nothing to look for (first {first}).")
    if facts.pairs is not None and len(descriptions) != facts.pairs:
        found.append(f"{len(descriptions)} samples instead of the published {facts.pairs}.")
    if one_cluster([d.meta for d in descriptions]):
        found.append("all samples are of one group or session and resampled one by one: intervals are too narrow.")
    return found


def _judge(
    kept: Sequence[Description], frequent: Sequence[Phrase], scoring: Scoring, out: Path, progress: bool
) -> dict[str, Any]:
    """The judge's mean, and its mean for the frequent answer as chance."""
    assert scoring.judge is not None
    groups = clusters_of([d.meta for d in kept])
    named = None if groups is None else dict(zip((d.key for d in kept), groups, strict=True))
    settings: dict[str, Any] = {"seed": scoring.seed, "progress": progress, "prompt": prompt_of(scoring.sensor)}
    cache = out / "judge.jsonl"
    words = spoken(frequent, [*scoring.training, *(d.reference for d in kept)])
    guesses = [Item(f"frequent answer/{d.key}", words, d.reference) for d in kept[: scoring.judge_chance]]
    chance = judge_answers(guesses, scoring.judge, cache, **settings) if guesses else None
    level = chance.score.value if chance and chance.score else None
    items = [Item(d.key, d.answer, d.reference) for d in kept]
    judged = judge_answers(items, scoring.judge, cache, groups=named, chance=level, **settings)
    return _judge_record(judged, chance, words)


def _judge_record(judged: Judged, chance: Judged | None, words: str) -> dict[str, Any]:
    record: dict[str, Any] = {"score": judged.score, "unparsable": judged.unparsable, **judged.about}
    record["replies"] = len(judged.values)
    if chance is not None:
        record["chance"] = {
            "score": chance.score,
            "answer": words,
            "replies": len(chance.values),
            "unparsable": chance.unparsable,
        }
    return record


def spoken(phrases: Sequence[Phrase], texts: Sequence[str]) -> str:
    """Phrases as words again, each as the texts write it first; a stem that no list has stays a stem."""
    forms: dict[Phrase, str] = {}
    for text in texts:
        for one, form in spelled(text):
            forms.setdefault(one, form)
    return ", ".join(forms.get(one, " ".join(one)) for one in phrases)


def rows(scores: KeywordScores, judged: Mapping[str, Any] | None) -> tuple[list[str], list[list[Any]]]:
    """Of the table: every metric with both chances."""
    found: list[list[Any]] = []
    for mean, of in (("micro", scores.micro), ("macro", scores.macro)):
        for metric, score in of.items():
            levels = [scores.chance[kind][mean][metric] for kind in ("frequent", "shuffled")]
            found.append([f"{metric}, {mean}", replace(score, chance=None), *levels])
    if judged is not None and isinstance(judged["score"], Score):
        score = judged["score"]
        name = f"judge, 1 to 10 ({judged['unparsable']} of {judged['replies']} replies unparsable)"
        found.append([name, replace(score, chance=None), score.chance, None])
    return ["", "score", "frequent answer", "other's reference"], found
