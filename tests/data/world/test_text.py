"""Captions parse back to their factors, for every template and every synonym."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from pairalign.core.errors import DataError
from pairalign.data.world import FACTORS, World, parse_caption, vocabulary
from pairalign.data.world.text import SYNONYMS, TEMPLATES, render_text, words_of


def test_every_value_has_words_and_no_word_two_values() -> None:
    assert {name: tuple(values) for name, values in SYNONYMS.items()} == FACTORS
    words = [word for values in SYNONYMS.values() for group in values.values() for word in group]
    assert len(words) == len(set(words))
    fixed = {word for template in TEMPLATES for word in words_of(template)} - set(FACTORS)
    assert not fixed & set(words)


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_template_names_every_factor_once(template: str) -> None:
    for name in FACTORS:
        assert template.count("{" + name + "}") == 1
    for turn in range(6):
        factors = {name: values[turn % len(values)] for name, values in FACTORS.items()}
        for pick in (0, -1):
            words = {name: SYNONYMS[name][value][pick] for name, value in factors.items()}
            assert parse_caption(template.format(**words)) == factors


def test_rendered_captions_parse_back_and_vary() -> None:
    world, captions = World(seed=3), set()
    for index in range(300):
        sample = world.sample(index, modalities=("text",))
        assert parse_caption(sample["text"]) == sample["factors"]
        assert set(words_of(sample["text"])) <= set(vocabulary())
        captions.add(sample["text"])
    assert len(captions) > 290


def test_the_article_fits_the_word() -> None:
    factors = {name: values[0] for name, values in FACTORS.items()}
    captions = {render_text(factors, np.random.default_rng(seed)) for seed in range(200)}
    assert any(" even" in caption for caption in captions)
    for caption in captions:
        words = words_of(caption)
        for article, word in pairwise(words):
            if article in ("a", "an"):
                assert (article == "an") == (word[0] in "aeiou"), caption


def test_a_caption_without_all_factors_is_told() -> None:
    with pytest.raises(DataError, match="does not name colour, texture, hardness"):
        parse_caption("a small cube")
    with pytest.raises(DataError, match="names shape twice"):
        parse_caption("a small red soft smooth cube ball")
