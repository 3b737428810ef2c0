"""Values taken back towards the base: exact at both ends, the straight line between them, for every structure."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from recompose_models import ALL, dormant, logits, tiny_llama, train

from pairalign.core.errors import DormantError
from pairalign.dormant.directions import Direction
from pairalign.dormant.layer import dormant_linears
from pairalign.dormant.model import DormantModel

STRUCTURES = {**ALL, "matrices": {"structure": "matrices"}}


def taught(dtype: torch.dtype = torch.float32, **options: Any) -> DormantModel:
    model = dormant(tiny_llama().to(dtype), **options)
    train(model)
    return model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", STRUCTURES)
def test_weights_are_on_the_line_from_the_base(name: str, dtype: torch.dtype) -> None:
    model = taught(dtype, **STRUCTURES[name])
    layers = dict(dormant_linears(model.base_model))
    ends = {n: (layer.base_weight().float(), _acting(layer)) for n, layer in layers.items()}
    model.pull_back("touch", 0.3)
    for n, layer in layers.items():
        start, end = ends[n]
        assert not torch.equal(start, end)
        assert torch.allclose(_acting(layer), start + 0.3 * (end - start), atol=1e-6)


def _acting(layer: Any) -> torch.Tensor:
    """The weight as it acts, before it is rounded to the base's dtype."""
    weight, update = layer.base_weight().float().clone(), layer.updates["touch"]
    if isinstance(update, Direction):
        return weight + update.delta()
    update.put_(weight, update.values.detach())
    return weight


@pytest.mark.parametrize("name", STRUCTURES)
def test_all_the_way_is_the_base_to_the_bit_and_none_of_it_changes_nothing(name: str) -> None:
    model = taught(**STRUCTURES[name])
    learned, values = logits(model), {n: u.values.clone() for n, u in model.updates("touch").items()}
    model.pull_back("touch", 1)
    assert all(torch.equal(u.values, values[n]) for n, u in model.updates("touch").items())
    assert torch.equal(logits(model), learned)
    model.pull_back("touch", 0)
    assert torch.equal(logits(model), logits(tiny_llama()))
    assert not torch.equal(logits(model), learned)


def test_only_the_sensor_that_is_named_moves() -> None:
    model = taught(structure="rows")
    other = {n: u.values.clone() for n, u in model.updates("touch").items()}
    with pytest.raises(DormantError, match=r"'points' is not installed. Installed: touch"):
        model.pull_back("points", 0.5)
    for wrong in (1.5, -0.1, float("nan")):
        with pytest.raises(DormantError, match=r"share=.*give a number from 0 to 1"):
            model.pull_back("touch", wrong)
    assert all(torch.equal(u.values, other[n]) for n, u in model.updates("touch").items())
