"""A receipt is clean after honest training, and names what something else has touched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from recompose_models import ALL, dormant, tiny_llama, train

from pairalign.core.errors import DeltaError
from pairalign.dormant.receipt import check_base, fingerprint_base, write_receipt


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("options", ALL.values(), ids=ALL)
def test_training_leaves_it_clean(options: dict[str, Any], dtype: torch.dtype, tmp_path: Path) -> None:
    base = tiny_llama().to(dtype)
    before = fingerprint_base(base)
    model = dormant(base, **options)
    train(model)
    receipt = write_receipt(model, before, tmp_path / "out" / "receipt.json")
    assert receipt.clean
    assert receipt.tensors == len(before) == len(tiny_llama().state_dict())
    assert receipt.entries == sum(t.numel() for t in tiny_llama().state_dict().values())
    assert receipt.owned == {"touch": sum(mask.count for mask in model.masks("touch").values())}
    record = json.loads((tmp_path / "out" / "receipt.json").read_text())
    assert record["clean"]
    assert record["sha256"] == before


@pytest.mark.parametrize(
    "name", ["model.layers.0.mlp.up_proj.weight", "model.norm.weight", "model.embed_tokens.weight"]
)
def test_one_bit_elsewhere_is_named(name: str, tmp_path: Path) -> None:
    model = dormant(tiny_llama(), structure="rows")
    before = fingerprint_base(model)
    train(model)
    masks = model.masks("touch")
    weight = model.base_model.get_parameter(name).data
    mask = masks.get(name.removesuffix(".weight"))
    critical = torch.ones_like(weight, dtype=torch.bool) if mask is None else ~mask.bitmap()
    place = critical.flatten().nonzero()[-1]
    weight.view(torch.int32).view(-1)[place] ^= 1
    with pytest.raises(DeltaError, match=rf"1 of the base's tensors are not what they were: {name}\. "):
        write_receipt(model, before, tmp_path / "receipt.json")
    assert json.loads((tmp_path / "receipt.json").read_text())["changed"] == [name]


def test_values_lie_beside_the_weight_and_whatever_is_written_into_it_is_named() -> None:
    model = dormant(tiny_llama(), structure="weights")
    before = fingerprint_base(model)
    train(model)
    assert check_base(model, before).clean
    name, mask = next(iter(model.masks("touch").items()))
    model.base_model.get_submodule(name).weight.data[mask.bitmap()] += 1
    assert check_base(model, before).changed == (f"{name}.weight",)


def test_tensors_that_come_or_go_are_named() -> None:
    model = tiny_llama()
    before = fingerprint_base(model)
    model.extra = torch.nn.Parameter(torch.zeros(1))
    del model.model.layers[1].mlp.up_proj
    receipt = check_base(model, before)
    assert receipt.added == ("extra",)
    assert receipt.missing == ("model.layers.1.mlp.up_proj.weight",)
    assert not receipt.clean
