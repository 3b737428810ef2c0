"""Words, hits and keyword scores: hand-known answers, and a brute-force oracle of the matching and the means."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest
import torch

from pairalign.core.errors import DataError
from pairalign.evaluate.generation.chance import chance_scores, frequent_phrases, others
from pairalign.evaluate.generation.keywords import (
    METRICS,
    Lexicon,
    build_lexicon,
    count_all,
    count_hits,
    plain_scores,
    read_synonyms,
    score_counts,
)
from pairalign.evaluate.generation.words import adjectives, is_list, phrase, spelled, stem


@pytest.mark.parametrize(
    "forms",
    [
        ("ridge", "ridges", "ridged"),
        ("bump", "bumps"),
        ("rib", "ribs", "ribbed"),
        ("texture", "textures", "textured"),
        ("dry", "dries", "dried"),
        ("press", "pressed", "pressing"),
        ("roll", "rolled"),
        ("yield", "yielding", "yields"),
        ("brush", "brushes"),
        ("glass", "glasses"),
        ("groove", "grooves", "grooved"),
        ("brushed", "brush"),
    ],
)
def test_inflected_forms_are_one_word(forms: tuple[str, ...]) -> None:
    assert len({stem(form) for form in forms}) == 1


@pytest.mark.parametrize(
    "words",
    [
        ("bumpy", "bump"),
        ("red", "r"),
        ("string", "str"),
        ("porous", "porou"),
        ("glass", "glas"),
        ("smooth", "smoothness"),
    ],
)
def test_other_words_stay_apart(words: tuple[str, str]) -> None:
    assert stem(words[0]) != stem(words[1])


def test_a_list_gives_every_phrase_once_without_fillers_and_degrees() -> None:
    said = "The surface is very soft, smooth and a bit ridged, with ridges."
    assert adjectives(said) == [("soft",), ("smooth",), ("ridg",)]
    assert adjectives("Soft, soft; SOFT.") == [("soft",)]
    assert adjectives("fine-grained, non-slip") == [phrase("fine grained"), phrase("non slip")]
    assert adjectives("") == adjectives("It feels like a") == []


def test_negation_is_not_understood() -> None:
    assert adjectives("not soft") == [("soft",)]


def test_running_text_gives_what_the_vocabulary_knows_the_longest_first() -> None:
    said = "My finger slides over a fabric whose fine grained weave stays smooth even when pressed"
    known = {phrase(word) for word in ("fine-grained", "grained", "smooth", "hard", "pressed")}
    assert not is_list(said)
    assert adjectives(said) == []
    assert adjectives(said, known) == [phrase("fine grained"), ("smooth",), ("press",)]


def test_a_phrase_counts_as_the_known_ones_in_it_unless_it_is_known_as_a_whole() -> None:
    assert adjectives("soft fabric, hard", {("soft",)}) == [("soft",), ("hard",)]
    assert adjectives("cotton fabric") == [("cotton", "fabric")]
    assert adjectives("soft fabric", {("soft",), ("soft", "fabric")}) == [("soft", "fabric")]


def test_no_phrase_reaches_over_the_end_of_a_sentence() -> None:
    said = "I press the thing hard while it moves about fine. Grained wood would be another thing entirely"
    assert adjectives(said, {phrase("fine grained"), phrase("hard")}) == [("hard",)]


def test_spelling_gives_words_back() -> None:
    assert dict(spelled("Very ridged and Soft")) == {("ridg",): "ridged", ("soft",): "soft"}


def test_synonyms_hold_both_ways_and_do_not_chain() -> None:
    lexicon = build_lexicon({"soft": ["plush"], "plush": ["fluffy"]})
    soft, plush, fluffy = ("soft",), ("plush",), phrase("fluffy")
    assert lexicon.alike(soft, plush)
    assert lexicon.alike(plush, soft)
    assert lexicon.alike(fluffy, plush)
    assert not lexicon.alike(soft, fluffy)
    assert lexicon.vocabulary == {soft, plush, fluffy}


def test_ten_words_for_one_reference_hit_it_once() -> None:
    lexicon = build_lexicon({"soft": ["plush", "fluffy", "cushy"]})
    said = adjectives("plush, fluffy, cushy, soft")
    counts = count_all([said], [[("soft",)]], lexicon)
    assert plain_scores(counts)["micro"] == pytest.approx({"precision": 0.25, "recall": 1.0, "f1": 0.4})


def test_the_matching_lets_a_word_step_aside() -> None:
    """Taken greedily, "plush" would take "soft" away from "soft", which has no other."""
    lexicon = build_lexicon({"plush": ["soft", "fluffy"]})
    assert count_hits([("plush",), ("soft",)], [("soft",), phrase("fluffy")], lexicon) == 2


def brute_hits(said: list, right: list, lexicon: Lexicon) -> int:
    wide, narrow = (said, right) if len(said) >= len(right) else (right, said)
    return max(
        sum(lexicon.alike(a, b) for a, b in zip(chosen, narrow, strict=True))
        for chosen in itertools.permutations(wide, len(narrow))
    )


def made(seed: int, count: int = 40) -> tuple[list, list, Lexicon]:
    draw = random.Random(seed)
    words = [f"w{chr(97 + n)}x" for n in range(7)]
    lexicon = build_lexicon({word: draw.sample(words, 2) for word in words[:4]})
    sides = [[[phrase(w) for w in draw.sample(words, draw.randint(low, 5))] for _ in range(count)] for low in (0, 1)]
    return sides[0], sides[1], lexicon


@pytest.mark.parametrize("seed", range(4))
def test_hits_and_scores_against_brute_force(seed: int) -> None:
    answers, references, lexicon = made(seed)
    hits = [brute_hits(a, r, lexicon) for a, r in zip(answers, references, strict=True)]
    counts = count_all(answers, references, lexicon)
    assert counts.hits.tolist() == hits
    precision = sum(hits) / sum(map(len, answers))
    recall = sum(hits) / sum(map(len, references))
    each = [
        (h / len(a) if a else 0.0, h / len(r), 2 * h / (len(a) + len(r)))
        for h, a, r in zip(hits, answers, references, strict=True)
    ]
    found = plain_scores(counts)
    assert found["micro"]["precision"] == pytest.approx(precision)
    assert found["micro"]["recall"] == pytest.approx(recall)
    assert found["micro"]["f1"] == pytest.approx(2 * precision * recall / (precision + recall))
    for place, metric in enumerate(METRICS):
        assert found["macro"][metric] == pytest.approx(sum(row[place] for row in each) / len(each))


def test_an_empty_answer_scores_nothing() -> None:
    counts = count_all([[], []], [[("soft",)], [("hard",)]], Lexicon())
    scores = score_counts(counts, {})
    for score in (*scores.micro.values(), *scores.macro.values()):
        assert (score.value, score.low, score.chance) == (0.0, 0.0, None)
        assert 0.5 < score.high < 1  # two samples say little


def test_intervals_resample_whole_groups() -> None:
    """Ten recordings of twenty equal frames are ten samples, not two hundred."""
    draw = random.Random(0)
    right = [draw.random() < 0.5 for _ in range(10)]
    answers = [[("soft",)] if right[i // 20] else [("hard",)] for i in range(200)]
    counts = count_all(answers, [[("soft",)]] * 200, Lexicon())
    wide = score_counts(counts, {}, [i // 20 for i in range(200)]).micro["f1"]
    narrow = score_counts(counts, {}).micro["f1"]
    assert (wide.n, wide.clusters, narrow.clusters) == (200, 10, None)
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


def test_scores_carry_the_higher_chance_and_follow_from_the_seed() -> None:
    answers, references, lexicon = made(1)
    counts = count_all(answers, references, lexicon)
    chance = chance_scores(references, [phrase("wax")], list(range(len(references))), lexicon, seed=3)
    scores = score_counts(counts, chance, seed=5)
    for metric in METRICS:
        assert scores.micro[metric].chance == max(by["micro"][metric] for by in chance.values())
        assert scores.micro[metric].low < scores.micro[metric].value < scores.micro[metric].high
    assert scores == score_counts(counts, chance, seed=5)
    assert scores.micro["f1"] != score_counts(counts, chance, seed=6).micro["f1"]


def test_the_frequent_answer_is_the_commonest_of_training() -> None:
    references = [[("warm",), ("soft",)], [("soft",), ("hard",)], [("hard",), ("soft",), ("warm",)], [("soft",)]]
    assert frequent_phrases(references) == [("soft",), ("hard",)]  # two on average; hard before warm at a tie
    assert frequent_phrases(references, 1) == [("soft",)]
    assert frequent_phrases([[("a",), ("z",)], [("b",), ("z",)], [("c",), ("z",)]], 1) == [("z",)]
    with pytest.raises(DataError, match="no references"):
        frequent_phrases([])


def test_chance_against_loops() -> None:
    _, references, lexicon = made(2, count=12)
    groups = [i // 3 for i in range(12)]
    frequent = frequent_phrases(references)
    chance = chance_scores(references, frequent, groups, lexicon, draws=4, seed=7)
    hits = [brute_hits(frequent, r, lexicon) for r in references]
    assert chance["frequent"]["micro"]["precision"] == pytest.approx(sum(hits) / (12 * len(frequent)))
    f1 = []
    for row in others(groups, 4, seed=7):
        f1 += [
            2 * brute_hits(references[j], references[i], lexicon) / (len(references[i]) + len(references[j]))
            for i, j in enumerate(row)
        ]
    assert chance["shuffled"]["macro"]["f1"] == pytest.approx(sum(f1) / len(f1))


def test_others_are_of_other_groups() -> None:
    groups = ["a", "a", "b", "b", "b", "c"]
    rows = others(groups, 50, seed=1)
    assert all(groups[i] != groups[j] for row in rows for i, j in enumerate(row))
    assert {j for row in rows for j in row} == set(range(6))
    assert all(i != j for row in others(["x"] * 4, 20) for i, j in enumerate(row))
    assert rows == others(groups, 50, seed=1) != others(groups, 50, seed=2)
    with pytest.raises(DataError, match="at least two"):
        others(["a"])


def test_synonyms_of_another_form_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "synonyms.json"
    path.write_text('{"soft": ["plush"]}')
    assert read_synonyms(path) == {"soft": ["plush"]}
    for text in ('["soft"]', '{"soft": "plush"}', '{"soft": [1]}', "{"):
        path.write_text(text)
        with pytest.raises(DataError, match="synonyms"):
            read_synonyms(path)
    with pytest.raises(DataError, match=r"nothing\.json"):
        read_synonyms(tmp_path / "nothing.json")


def test_no_hit_anywhere_has_an_interval_of_its_groups() -> None:
    counts = count_all([[("a",)]] * 20, [[("b",)]] * 20, Lexicon())
    alone, grouped = score_counts(counts, {}), score_counts(counts, {}, [i // 5 for i in range(20)])
    assert alone.micro["f1"].high < 0.2 < grouped.micro["f1"].high
    assert torch.equal(counts.each("f1"), torch.zeros(20, dtype=torch.float64))
