"""A set of descriptions scored as a whole: references in running text, warnings, what is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pairalign.core.errors import ConfigError, DataError
from pairalign.evaluate.generation.judge import PROMPT as JUDGED
from pairalign.evaluate.generation.judge import prompt_of
from pairalign.evaluate.generation.keywords import build_lexicon
from pairalign.evaluate.generation.page import Shown
from pairalign.evaluate.generation.published import PROMPT, published, question
from pairalign.evaluate.generation.run import Description, Scoring, score_descriptions

SENTENCES = [
    "When the sensor slides along it the thing yields softly because it is soft all through",
    "Pressing on the plate leaves nothing behind at all since the plate is hard everywhere",
    "Under the gel there lies a soft cloth whose long threads are smooth from end to end",
]


def score(answers: list[str], references: list[str], out: Path, meta: Any = None, **scoring: Any) -> Any:
    rows = [
        Description(f"k{n}", answer, reference, meta(n) if meta else {})
        for n, (answer, reference) in enumerate(zip(answers, references, strict=True))
    ]
    return score_descriptions(rows, out, Scoring(**scoring), progress=False)


def test_running_text_needs_the_adjectives_to_look_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="0 of 3 hold adjectives"):
        score(["soft"] * 3, SENTENCES, tmp_path)
    assert not list(tmp_path.iterdir())
    lexicon = build_lexicon(None, ["soft", "hard", "smooth"])
    found = score(["soft", "hard", "soft and rough"], SENTENCES, tmp_path, lexicon=lexicon)
    micro = found.result["keywords"]["micro"]
    assert (micro["precision"].value, micro["recall"].value) == pytest.approx((3 / 4, 3 / 4))


def test_without_training_references_chance_says_whose_words_it_takes(tmp_path: Path) -> None:
    references = ["soft", "soft", "hard"]
    own = score(references, references, tmp_path).result["keywords"]["chance"]["frequent"]
    assert own["stems"] == ["soft"]
    assert own["of"].startswith("the measured references themselves")
    taught = score(references, references, tmp_path, training=["hard"] * 5).result["keywords"]["chance"]["frequent"]
    assert (taught["stems"], taught["micro"]["f1"]) == (["hard"], pytest.approx(1 / 3))


def test_one_group_for_all_is_said(tmp_path: Path) -> None:
    words = ["soft", "hard", "rough"]
    alone = score(words, words, tmp_path, lambda n: {"group": "cup"}).result
    assert alone["clusters"] is None
    assert any("intervals are too narrow" in text for text in alone["differs"])
    two = score(words, words, tmp_path, lambda n: {"group": n // 2}).result
    assert two["clusters"] == 2
    assert not any("too narrow" in text for text in two["differs"])


def test_the_size_of_the_published_set_is_compared(tmp_path: Path) -> None:
    found = score(["soft"] * 3, ["soft"] * 3, tmp_path, protocol="tvl")
    assert "3 samples instead of the published 402." in found.result["differs"]
    found = score(["soft"] * 402, ["soft"] * 402, tmp_path, protocol="tvl")
    assert not any("instead of" in text for text in found.result["differs"])
    with pytest.raises(ConfigError, match="Did you mean 'tacquad'"):
        published("tacqad")


def test_what_is_written_is_what_was_measured_and_text_is_escaped(tmp_path: Path) -> None:
    rows = [Description(f"k{n}", "<b>soft</b> & $x$", "soft, <i>", {}) for n in range(2)]
    shown = [Shown("k0", [("vector", [1.0, 2.0])], rows[0].answer, rows[0].reference)]
    found = score_descriptions(rows, tmp_path, about={"prompt": "<p>"}, shown=shown, synthetic=True, progress=False)
    written = json.loads(found.path.read_text())
    assert written["keywords"]["macro"]["f1"]["value"] == found.result["keywords"]["macro"]["f1"].value
    assert (written["prompt"], written["n"], written["seed"]) == ("<p>", 2, 0)
    page = found.page.read_text()
    assert "Synthetic data" in page
    assert "&lt;b&gt;soft&lt;/b&gt;" in page
    assert "<b>soft" not in page


def test_a_sample_called_as_a_word_that_says_nothing_counts_as_all_others(tmp_path: Path) -> None:
    """Materials by their names: "felt" and "can" are fillers in a sentence, and things here."""
    names = ["felt", "wood", "can", "cork"]
    said = ["felt", "it is wood", "It is a can.", "it felt like cork"]
    found = score(said, names, tmp_path, sensor="my_glove")
    assert (found.result["n"], found.result["left_out"]) == (4, 0)
    assert found.result["keywords"]["micro"]["recall"].value == 1
    assert found.result["title"] == "my glove descriptions"
    page = found.page.read_text()
    assert "What the model says of signals of my glove" in page
    assert "touch" not in page.lower()
    differs = score(["soft"] * 4, ["soft", "hard", "rough", "it is one"], tmp_path).result["differs"]
    assert "1 samples are left out, for their reference names nothing to look for (first k3: 'it is one')." in differs


def test_the_questions_speak_of_the_sensor() -> None:
    assert question("gelsight_touch") == PROMPT == question("touch")
    assert question("my_glove") == "Describe what this my glove signal shows in a few words."
    assert prompt_of("touch") == JUDGED
    asked = prompt_of("my_glove").format(reference="felt", answer="wood")
    assert "what the same my glove recording shows" in asked
    assert "Right: felt\nTo be judged: wood" in asked
    assert "touch" not in asked
