"""Values written behind torch's back, through `.data`, act in the next forward pass; so do biases that train."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from recompose_models import ALL, STRUCTURES, dormant, logits, loss, tiny_llama, token_batches, train
from torch import Tensor, nn

from pairalign.core.errors import DormantError
from pairalign.dormant.model import DormantModel

BATCH = token_batches()[0]


def plain_loop(values: list[nn.Parameter]) -> None:
    for value in values:
        value.data -= 0.5


def moving_average(values: list[nn.Parameter]) -> None:
    for value in values:
        value.data.copy_(0.9 * value.data + 0.1)


def flattened(values: list[nn.Parameter]) -> None:
    nn.utils.vector_to_parameters(torch.cat([v.detach().reshape(-1) - 0.5 for v in values]), values)


def trained(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


def told(model: DormantModel) -> Tensor:
    """The logits of the same values, in a model that was told of them in the open."""
    other = dormant(tiny_llama(), **vars_of(model))
    with torch.no_grad():
        for mine, its in zip(trained(other), trained(model), strict=True):
            mine.copy_(its)
    return logits(other, BATCH)


def vars_of(model: DormantModel) -> dict[str, Any]:
    config = model.dormant["touch"]
    names = ("structure", "density", "budget", "target_modules")
    return {name: getattr(config, name) for name in names}


@pytest.mark.parametrize("write", [plain_loop, moving_average, flattened])
@pytest.mark.parametrize("options", ALL.values(), ids=ALL)
def test_they_are_seen(options: dict[str, Any], write: Callable[[list[nn.Parameter]], None]) -> None:
    model = dormant(tiny_llama(), **options)
    before = model(**BATCH).logits.detach()
    write(trained(model))
    expected = told(model)
    assert not torch.equal(expected, before)
    assert torch.equal(model(**BATCH).logits.detach(), expected)  # while training
    write(trained(model))
    assert torch.equal(logits(model, BATCH), told(model))  # and while measuring
    write(trained(model))
    expected = told(model)
    model.requires_grad_(False)
    assert torch.equal(logits(model, BATCH), expected)  # and when they train no longer


def test_through_a_view_that_was_taken_long_ago_too() -> None:
    model = dormant(tiny_llama(), structure="rows")
    views = [value.data for value in trained(model)]
    for _ in range(3):
        logits(model, BATCH)
        for view in views:
            view.add_(0.1)
        assert torch.equal(logits(model, BATCH), told(model))


@pytest.mark.parametrize("options", STRUCTURES.values(), ids=STRUCTURES)
def test_a_plain_loop_learns(options: dict[str, Any]) -> None:
    model, seen = dormant(tiny_llama(), **options), []
    for _ in range(4):
        found = loss(model, BATCH)
        seen.append(float(found.detach()))
        model.zero_grad()
        found.backward()
        for value in trained(model):
            value.data -= 0.5 * value.grad  # type: ignore[operator]
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == 4


def test_two_forward_passes_may_wait_for_one_backward_pass() -> None:
    """Values are written again in the second; nothing of the first is spoiled by it."""
    first, second = token_batches(2)
    model, apart = dormant(tiny_llama(), structure="rows"), dormant(tiny_llama(), structure="rows")
    (loss(model, first) * loss(model, second)).backward()
    with torch.no_grad():
        weights = [float(loss(apart, batch)) for batch in (second, first)]
    for batch, weight in zip((first, second), weights, strict=True):
        (loss(apart, batch) * weight).backward()
    for one, other in zip(trained(model), trained(apart), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("options", ALL.values(), ids=ALL)
def test_a_base_look_up_within_another_leaves_the_outer_one_alone(options: dict[str, Any]) -> None:
    model = dormant(tiny_llama(), **options)
    train(model)
    acting = logits(model)
    with model.disable_adapter():
        base = logits(model)
        with model.disable_adapter():
            assert logits(model).equal(base)
        assert logits(model).equal(base)
    assert logits(model).equal(acting)
    assert not acting.equal(base)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("options", ALL.values(), ids=ALL)
def test_a_bias_that_trains_has_the_gradient_that_autograd_gives(options: dict[str, Any], mixed: bool) -> None:
    biases = {"attention_bias": True, "mlp_bias": True}
    dense, model = tiny_llama(**biases), dormant(tiny_llama(**biases), **options)
    for name, parameter in model.named_parameters():
        if name.endswith(".bias"):
            parameter.requires_grad_(True)
    for each in (dense, model):
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            loss(each, BATCH).backward()
    wanted = {name: p.grad for name, p in dense.named_parameters() if name.endswith(".bias")}
    assert len(wanted) == 14
    for name, gradient in wanted.items():
        found = model.base_model.get_parameter(name).grad
        assert found is not None, name
        torch.testing.assert_close(found, gradient, rtol=0.1 if mixed else 1e-4, atol=1e-3 if mixed else 1e-8)


@pytest.mark.parametrize("options", STRUCTURES.values(), ids=STRUCTURES)
def test_a_base_weight_that_is_to_train_is_refused_and_not_left_without_a_gradient(options: dict[str, Any]) -> None:
    model = dormant(tiny_llama(), **options)
    model.requires_grad_(True)
    with pytest.raises(DormantError, match=r"a base weight beside dormant values is never trained"):
        loss(model, BATCH)
    assert logits(model, BATCH).isfinite().all()
