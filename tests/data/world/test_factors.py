"""The table of who sees what, and the promises of the novel split."""

from __future__ import annotations

from collections import Counter
from itertools import combinations as choose
from itertools import product

import pytest

from pairalign.core.errors import DataError
from pairalign.data.world import FACTORS, VISIBLE, combinations, is_novel, novel_triples, shared_factors
from pairalign.data.world.factors import check_factors


def test_visible_is_the_table_of_the_design() -> None:
    assert {name: set(seen) for name, seen in VISIBLE.items()} == {
        "image": {"shape", "size", "colour", "texture"},
        "touch": {"texture", "hardness"},
        "points": {"shape", "size", "texture"},
        "text": {"shape", "size", "colour", "texture", "hardness"},
    }


@pytest.mark.parametrize(
    ("path", "shared"),
    [
        (("image", "text"), ("shape", "size", "colour", "texture")),
        (("image", "touch"), ("texture",)),
        (("text", "points"), ("shape", "size", "texture")),
        (("touch", "image", "text"), ("texture",)),
        (("touch", "text"), ("texture", "hardness")),
        (("image", "text", "points"), ("shape", "size", "texture")),
        (("touch", "image", "text", "points"), ("texture",)),
    ],
)
def test_a_path_carries_what_all_of_it_sees(path: tuple[str, ...], shared: tuple[str, ...]) -> None:
    assert set(shared_factors(path)) == set(shared)


def test_novel_and_training_divide_all_combinations() -> None:
    every, novel, trained = combinations(), combinations(True), combinations(False)
    assert len(every) == len(set(every)) == len(list(product(*FACTORS.values())))
    assert set(novel) | set(trained) == set(every)
    assert not set(novel) & set(trained)
    assert 0.10 <= len(novel) / len(every) <= 0.15


def test_every_pair_of_values_is_still_trained() -> None:
    trained = combinations(False)
    for (i, first), (j, second) in choose(enumerate(FACTORS), 2):
        met = {(values[i], values[j]) for values in trained}
        assert met == set(product(FACTORS[first], FACTORS[second])), (first, second)


def test_novel_combinations_are_balanced() -> None:
    for position, factor in enumerate(("shape", "size", "texture")):
        counts = Counter(triple[position] for triple in novel_triples())
        assert set(counts) == set(FACTORS[factor])
        assert max(counts.values()) - min(counts.values()) <= 1


def test_novelty_is_seen_by_every_edge_that_sees_shape_size_and_texture() -> None:
    """No trained object has a novel (shape, size, texture), whatever its colour and hardness."""
    trained = {(v[0], v[1], v[3]) for v in combinations(False)}
    assert list(FACTORS)[:4] == ["shape", "size", "colour", "texture"]
    assert not trained & novel_triples()
    for values in combinations(True):
        assert is_novel(dict(zip(FACTORS, values, strict=True)))


@pytest.mark.parametrize(
    ("factors", "told"),
    [
        ({"shape": "cube"}, "lacks 'size'"),
        ({**dict.fromkeys(FACTORS, ""), "shape": "spere"}, "Did you mean 'sphere'"),
        ({"color": "red"}, "Did you mean 'colour'"),
    ],
)
def test_a_wrong_combination_is_told(factors: dict[str, str], told: str) -> None:
    with pytest.raises(DataError, match=told):
        check_factors(factors)


def test_an_unknown_modality_is_told() -> None:
    with pytest.raises(DataError, match="Did you mean 'touch'"):
        shared_factors(("image", "tuoch"))
