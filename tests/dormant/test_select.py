"""Exactly k of the lowest pieces, for every structure and budget, against sorting everything."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from pairalign.core.errors import DormantError
from pairalign.dormant.selection.select import owl_shares, select_dormant
from pairalign.dormant.selection.units import lowest, lowest_of_all

MLP = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")


def scores(seed: int = 0, levels: int | None = None) -> dict[str, Tensor]:
    """Four matrices; with `levels` the scores take few values, so that most are ties."""
    draw = torch.Generator().manual_seed(seed)
    found = {
        name: torch.rand(shape, generator=draw) for name, shape in zip(MLP, [(16, 8), (16, 8), (8, 16)], strict=True)
    }
    return {name: (s * levels).floor() for name, s in found.items()} if levels else found


def sorted_lowest(flat: list[float], k: int) -> set[int]:
    return set(sorted(range(len(flat)), key=lambda i: (flat[i], i))[:k])


@given(st.lists(st.sampled_from([0.0, -0.0, 0.5, 1.0, -2.0, 3e38, 1e-40]), min_size=2, max_size=40), st.data())
def test_lowest_is_what_a_stable_sort_says(flat: list[float], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(flat) - 1))
    assert set(lowest(torch.tensor(flat), k).nonzero()[:, 0].tolist()) == sorted_lowest(flat, k)


@settings(deadline=None)
@given(
    st.lists(
        st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=9),
        min_size=1,
        max_size=4,
    ),
    st.floats(0.1, 0.9),
)
def test_lowest_of_all_is_what_a_stable_sort_over_everything_says(groups: list[list[float]], density: float) -> None:
    flat = [value for group in groups for value in group]
    k = round(density * len(flat))
    if not 0 < k < len(flat):
        return
    found = lowest_of_all(lambda: ((str(i), torch.tensor(group)) for i, group in enumerate(groups)), density)
    assert set(torch.cat(list(found.values())).nonzero()[:, 0].tolist()) == sorted_lowest(flat, k)


@pytest.mark.parametrize("levels", [None, 3])
@pytest.mark.parametrize("density", [0.1, 0.25, 0.6])
def test_entries_per_row(levels: int | None, density: float) -> None:
    given_ = scores(levels=levels)
    for name, mask in select_dormant(given_, "weights", "per_row", density).items():
        for row, marked in zip(given_[name].tolist(), mask.bitmap(), strict=True):
            assert set(marked.nonzero()[:, 0].tolist()) == sorted_lowest(row, round(density * len(row)))


@pytest.mark.parametrize("structure", ["weights", "rows", "columns", "neurons"])
@pytest.mark.parametrize("budget", ["per_matrix", "global", "owl"])
@pytest.mark.parametrize("levels", [None, 3])
def test_budgets_are_exact(structure: str, budget: str, levels: int | None) -> None:
    given_ = scores(levels=levels)
    masks = select_dormant(given_, structure, budget, 0.25, owl_outlier=1.5)
    assert list(masks) == list(given_)
    entries = sum(mask.count for mask in masks.values())
    if budget != "owl":
        assert entries == 0.25 * 3 * 128 if structure != "rows" or budget != "global" else entries > 0
    for name, mask in masks.items():
        assert int(mask.bitmap().sum()) == mask.count
        assert mask.shape == tuple(given_[name].shape)


def test_rows_and_columns_go_by_their_mean() -> None:
    score = torch.tensor([[1.0, 9.0], [2.0, 2.0], [8.0, 8.0], [3.0, 3.0]])
    assert select_dormant({"w": score}, "rows", density=0.5)["w"].index.tolist() == [1, 3]
    assert select_dormant({"w": score}, "columns", density=0.5)["w"].index.tolist() == [0]
    assert select_dormant({"w": score}, "rows", density=0.5, highest=True)["w"].index.tolist() == [0, 2]


def test_a_neuron_is_a_row_of_gate_and_up_and_a_column_of_down() -> None:
    given_ = {name: torch.ones(4, 2) if name != MLP[2] else torch.ones(2, 4) for name in MLP}
    given_[MLP[0]][2] = 0
    given_[MLP[2]][:, 1] = 0.5
    masks = select_dormant(given_, "neurons", density=0.5)
    assert [mask.kind for mask in masks.values()] == ["rows", "rows", "columns"]
    assert all(mask.index.tolist() == [1, 2] for mask in masks.values())


def test_a_neuron_of_a_plain_mlp_is_a_row_of_the_first_and_a_column_of_the_second() -> None:
    first, second = torch.ones(4, 2), torch.ones(2, 4)
    first[3], second[:, 1] = 0, 0.5
    masks = select_dormant({"a.mlp.fc1": first, "a.mlp.fc2": second}, "neurons", density=0.5)
    assert [(mask.kind, mask.index.tolist()) for mask in masks.values()] == [("rows", [1, 3]), ("columns", [1, 3])]


def test_neurons_need_all_three_matrices() -> None:
    with pytest.raises(DormantError, match=r"mlp has down_proj, gate_proj; a neuron needs exactly gate_proj"):
        select_dormant({name: s for name, s in scores().items() if "up" not in name}, "neurons")


@pytest.mark.parametrize("levels", [None, 2])
def test_n_of_m(levels: int | None) -> None:
    given_ = scores(levels=levels)
    for name, mask in select_dormant(given_, "1:4", "per_row").items():
        groups = mask.bitmap().view(-1, 4)
        assert groups.sum(1).eq(1).all()
        assert groups.int().argmax(1).equal(given_[name].view(-1, 4).argmin(1))


def test_what_another_sensor_owns_comes_last() -> None:
    given_ = scores()
    first = select_dormant(given_, "weights", "global", 0.4)
    second = select_dormant(given_, "weights", "global", 0.4, taken={n: m.bitmap() for n, m in first.items()})
    assert all(not (first[name].bitmap() & second[name].bitmap()).any() for name in given_)


def test_owl_leaves_outliers_alone() -> None:
    plain, spiky = torch.ones(8, 8), torch.ones(8, 8)
    spiky[:2, :2] = 100
    shares = owl_shares({"plain": plain, "spiky": spiky}, 0.3)
    assert shares == pytest.approx({"plain": 0.3 + 0.08, "spiky": 0.3 - 0.08})


def test_owl_counts_outliers_over_a_whole_layer() -> None:
    draw = torch.Generator().manual_seed(0)
    shapes = {"q_proj": (8, 8), "k_proj": (4, 8), "down_proj": (8, 16)}
    given_ = {
        f"m.layers.{n}.{k}": torch.rand(s, generator=draw) ** (n + 1) for n in (0, 1, 10) for k, s in shapes.items()
    }
    outliers = {}
    for layer in (0, 1, 10):
        flat = [v for name, s in given_.items() if f".{layer}." in name for v in s.flatten().tolist()]
        outliers[layer] = sum(v > 2 * sum(flat) / len(flat) for v in flat) / len(flat)
    span = max(outliers.values()) - min(outliers.values())
    raised = {layer: 0.2 * (share - min(outliers.values())) / span for layer, share in outliers.items()}
    mean = sum(raised.values()) / 3
    for name, share in owl_shares(given_, 0.4, outlier=2.0, spread=0.1).items():
        assert share == pytest.approx(0.4 + mean - raised[int(name.split(".")[2])])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"density": 0.0}, r"density=0.0: it must lie between 0 and 1"),
        ({"density": 1.0}, r"density=1.0"),
        ({"density": 0.001}, r"density=0.001: of 128 pieces of mlp.gate_proj it takes 0"),
        ({"density": 0.01, "budget": "per_row"}, r"of 8 inputs of a row of mlp.gate_proj it takes 0"),
        ({"structure": "row"}, r"structure='row'"),
        ({"structure": "4:4", "budget": "per_row"}, r"structure='4:4': write n:m"),
        ({"structure": "1:3", "budget": "per_row"}, r"8 inputs, no multiple of 3"),
        ({"structure": "1:4", "budget": "global"}, r"budget='global'"),
        ({"structure": "rows", "budget": "per_row"}, r"budget='per_row': rows are whole pieces"),
        ({"density": 0.1, "budget": "owl", "owl_spread": 0.4, "owl_outlier": 1.5}, r"owl_spread=0.4"),
    ],
)
def test_what_cannot_be_met_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(DormantError, match=message):
        select_dormant(scores(), **options)  # type: ignore[arg-type]


def test_bad_scores_are_refused() -> None:
    with pytest.raises(DormantError, match="score of w is not finite"):
        select_dormant({"w": torch.tensor([[1.0, float("nan")]])}, "columns", density=0.5)
    with pytest.raises(DormantError, match=r"score of w has shape \(3,\)"):
        select_dormant({"w": torch.rand(3)}, "rows")
    with pytest.raises(DormantError, match="scores is empty"):
        select_dormant({})
