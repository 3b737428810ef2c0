"""A sample is a function of seed, index and factors; each modality holds what it should and nothing else."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from pairalign.core.errors import DataError
from pairalign.data.world import FACTORS, MODALITIES, VISIBLE, World

HIDDEN = [(m, f) for m, f in product(MODALITIES, FACTORS) if f not in VISIBLE[m]]
SEEN = [(m, f) for m, f in product(MODALITIES, FACTORS) if f in VISIBLE[m]]
BASE = {"shape": "cube", "size": "medium", "colour": "blue", "texture": "bumpy", "hardness": "firm"}


def test_the_same_index_gives_the_same_bits() -> None:
    for index in (0, 7, (1 << 40) + 3):
        one, two = World(seed=2).sample(index), World(seed=2).sample(index)
        assert one["key"] == two["key"]
        assert one["factors"] == two["factors"]
        for name in (*MODALITIES, "touch_background"):
            np.testing.assert_array_equal(np.asarray(one[name]), np.asarray(two[name]))


def test_rendering_fewer_modalities_changes_none_of_them() -> None:
    whole = World().sample(11)
    for name in MODALITIES:
        alone = World().sample(11, modalities=(name,))
        np.testing.assert_array_equal(np.asarray(alone[name]), np.asarray(whole[name]))
        assert alone["factors"] == whole["factors"]
        assert not set(alone) & (set(MODALITIES) - {name})


@pytest.mark.parametrize("name", MODALITIES)
def test_another_seed_or_index_gives_another_signal(name: str) -> None:
    first = World(seed=0).sample(1, BASE, (name,))[name]
    for other in (World(seed=1).sample(1, BASE, (name,)), World(seed=0).sample(2, BASE, (name,))):
        assert np.asarray(other[name]).tobytes() != np.asarray(first).tobytes()


@pytest.mark.parametrize(("name", "factor"), HIDDEN)
def test_a_hidden_factor_changes_no_bit(name: str, factor: str) -> None:
    """The strongest form of "cannot be read": same index, other value, same signal."""
    for index in range(3):
        signals = [World().sample(index, {**BASE, factor: value}, (name,))[name] for value in FACTORS[factor]]
        for other in signals[1:]:
            np.testing.assert_array_equal(np.asarray(other), np.asarray(signals[0]))


@pytest.mark.parametrize(("name", "factor"), SEEN)
def test_a_visible_factor_changes_the_signal(name: str, factor: str) -> None:
    signals = [World().sample(0, {**BASE, factor: value}, (name,))[name] for value in FACTORS[factor]]
    assert len({np.asarray(signal).tobytes() for signal in signals}) == len(signals)


def test_types_sizes_and_ranges() -> None:
    sample = World(image_size=40, touch_size=24, points=100).sample(4)
    assert (sample["image"].size, sample["image"].mode) == ((40, 40), "RGB")
    for name in ("touch", "touch_background"):
        assert (sample[name].size, sample[name].mode) == ((24, 24), "RGB")
    assert (sample["points"].shape, sample["points"].dtype) == ((100, 6), np.float32)
    assert sample["points"].flags.c_contiguous
    assert World(points=100, normals=False).sample(4)["points"].shape == (100, 3)
    np.testing.assert_array_equal(World(points=100, normals=False).sample(4)["points"], sample["points"][:, :3])
    assert isinstance(sample["text"], str)


def test_factors_are_drawn_evenly() -> None:
    drawn = [World(seed=9).sample(index, modalities=())["factors"] for index in range(3000)]
    for factor, values in FACTORS.items():
        for value in values:
            share, spread = 1 / len(values), (1 / len(values) / 3000) ** 0.5
            assert abs(np.mean([d[factor] == value for d in drawn]) - share) < 4 * spread


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: World(points=3), r"World\(points=3\)"),
        (lambda: World().sample(-1), "index=-1"),
        (lambda: World().sample(0, modalities=("smell",)), "no modality 'smell'"),
        (lambda: World().sample(0, {**BASE, "size": "lage"}), "Did you mean 'large'"),
    ],
)
def test_a_wrong_argument_is_told(call, told: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=told):
        call()
