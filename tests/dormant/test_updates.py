"""Packed replacement values against the dense weight and the dense gradient."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from recompose_models import logits, tiny_llama
from torch import Tensor, nn

import pairalign as pa
from pairalign.dormant.layer import adapt, attach
from pairalign.dormant.updates import Columns, Entries, Replacement, Rows

SHAPE = (13, 21)  # no multiple of 8


def scattered(density: float, shape: tuple[int, int] = SHAPE) -> Tensor:
    flat = torch.randperm(shape[0] * shape[1], generator=torch.Generator().manual_seed(1))
    chosen = torch.zeros(shape[0] * shape[1], dtype=torch.bool)
    chosen[flat[: max(1, int(density * len(flat)))]] = True
    return chosen.view(shape)


KINDS = {
    "rows": lambda weight: Rows(weight, torch.tensor([0, 4, 12])),
    "all rows": lambda weight: Rows(weight, torch.arange(SHAPE[0])),
    "columns": lambda weight: Columns(weight, torch.tensor([3, 20])),
    "many entries": lambda weight: Entries(weight, scattered(0.3)),
    "few entries": lambda weight: Entries(weight, scattered(0.02)),
}


@pytest.fixture(params=KINDS)
def update(request: pytest.FixtureRequest) -> tuple[Tensor, Replacement]:
    weight = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    return weight, KINDS[request.param](weight)


def test_it_takes_what_its_bitmap_marks(update: tuple[Tensor, Replacement]) -> None:
    weight, replacement = update
    marked = replacement.bitmap()
    assert int(marked.sum()) == replacement.count == replacement.take(weight).numel()
    assert sorted(replacement.take(weight).flatten().tolist()) == sorted(weight[marked].tolist())


def test_put_changes_the_marked_entries_and_no_other(update: tuple[Tensor, Replacement]) -> None:
    weight, replacement = update
    marked, before = replacement.bitmap(), weight.clone()
    wanted = torch.randn_like(replacement.values)
    replacement.put_(weight, wanted)
    assert replacement.take(weight).equal(wanted)
    assert weight[~marked].equal(before[~marked])
    replacement.put_(weight, replacement.take(before))
    assert weight.equal(before)


@pytest.mark.parametrize("block", [1, 8 * 21, 1 << 22])
def test_the_gradient_is_the_dense_ones_entries(
    update: tuple[Tensor, Replacement], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pairalign.dormant.updates.BLOCK", block)
    weight, replacement = update
    grad, inputs = torch.randn(5, SHAPE[0]), torch.randn(5, SHAPE[1])
    acted(replacement, inputs, weight, None).backward(grad)
    dense = torch.einsum("no,ni->oi", grad.double(), inputs.double()).float()
    torch.testing.assert_close(replacement.values.grad, replacement.take(dense), rtol=1e-6, atol=1e-6)


def test_a_layer_acts_as_one_with_the_values_in_its_weight(update: tuple[Tensor, Replacement]) -> None:
    weight, replacement = update
    before, bias, grad = weight.clone(), nn.Parameter(torch.randn(SHAPE[0])), torch.randn(2, 3, SHAPE[0])
    inputs = torch.randn(2, 3, SHAPE[1], requires_grad=True)
    with torch.no_grad():
        replacement.values.add_(torch.randn_like(replacement.values))
    dense = weight.clone()
    replacement.put_(dense, replacement.values.detach())
    expected, found = F.linear(inputs, dense, bias), acted(replacement, inputs, weight, bias)
    torch.testing.assert_close(found, expected)
    wanted, got = (torch.autograd.grad(output, (inputs, bias), grad) for output in (expected, found))
    torch.testing.assert_close(got, wanted)
    assert weight.equal(before)


def acted(replacement: Replacement, inputs: Tensor, weight: Tensor, bias: nn.Parameter | None) -> Tensor:
    """The output of a layer that has this update alone."""
    linear = nn.Linear(SHAPE[1], SHAPE[0], bias=bias is not None)
    linear.weight, linear.bias = nn.Parameter(weight, requires_grad=False), bias
    layer = adapt(linear)
    attach(layer, "touch", replacement)
    if bias is not None:
        bias.requires_grad_(True)
    output: Tensor = layer(inputs)
    return output


def test_masters_stay_float32_in_a_half_model() -> None:
    weight = torch.randn(SHAPE)
    for make in KINDS.values():
        replacement = make(weight)
        exact = replacement.values.detach().clone()
        replacement.to(torch.bfloat16)
        assert replacement.values.dtype == torch.float32
        assert replacement.values.equal(exact)


@pytest.mark.parametrize("name", ["glove", "zither"])  # before and behind "touch": whoever stands first is not asked
@pytest.mark.parametrize("structure", ["rows", "columns", "weights"])
def test_directions_beside_replaced_weights_are_merged_as_they_act(structure: str, name: str) -> None:
    base = tiny_llama()
    model = pa.get_dormant_model(base, pa.DormantConfig(structure=structure, density=0.25), sensor="touch")
    model = pa.get_dormant_model(
        model, pa.DormantConfig(structure="directions", score="random", density=0.25), sensor=name
    )
    torch.manual_seed(0)
    for sensor in model.dormant:
        for update in model.updates(sensor).values():
            update.values.data.normal_(std=0.2)
    acting = logits(model)
    torch.testing.assert_close(logits(model.merge_and_unload()), acting, atol=1e-4, rtol=1e-4)
