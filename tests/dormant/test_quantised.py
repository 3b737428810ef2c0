"""Dormant weights beside a quantised base: its bits stay, gradients are those of the numbers that it stands for."""

from __future__ import annotations

import copy
import gc
from pathlib import Path
from typing import Any

import pytest
import torch
from quantised_models import FORMS, dequantised, needs, plain_llama, quantised_llama
from recompose_models import logits, loss, tiny_llama, token_batches, train
from torch import Tensor, nn

import pairalign as pa
from pairalign.core.errors import DeltaError, DormantError
from pairalign.dormant.layer import DormantLinear
from pairalign.dormant.plan import plan_dormant
from pairalign.dormant.quantised import bytes_of, columns_of, dense, dtype_of, form_of, rows_of, shape_of
from pairalign.dormant.receipt import check_base, fingerprint_base
from pairalign.dormant.significance import score_model
from pairalign.sensors.quantise import loading_in

BESIDE = {
    "rows": {"structure": "rows"},
    "columns": {"structure": "columns"},
    "neurons": {"structure": "neurons", "target_modules": ("gate_proj", "up_proj", "down_proj")},
    "directions": {"structure": "directions", "score": "random"},
}
SCORES = ("magnitude", "random", "wanda", "splash", "dowser", "fisher")


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    needs(request.param)
    return str(request.param)


@pytest.fixture(params=["float32", "bfloat16"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    found: torch.dtype = getattr(torch, request.param)
    return found


@pytest.fixture
def base(tmp_path: Path, form: str, dtype: torch.dtype) -> Any:
    return quantised_llama(tmp_path, form, dtype)


def taught(model: nn.Module, **options: Any) -> Any:
    config = pa.DormantConfig(**{"density": 0.25, **options})
    return pa.get_dormant_model(model, config, token_batches(), sensor="touch")


def values(model: Any) -> dict[str, nn.Parameter]:
    return {name: update.values for name, update in model.updates("touch").items()}


def bits(tensor: Tensor) -> Tensor:
    return tensor.view(torch.int16 if tensor.element_size() == 2 else torch.int32)


def test_rows_and_columns_are_those_of_the_whole(base: Any) -> None:
    for layer in (base.model.layers[0].mlp.up_proj, base.model.layers[1].mlp.down_proj):
        weight, index = layer.weight, torch.tensor([0, 3, 4, 17])
        found = dense(weight)
        assert found.dtype == dtype_of(weight)
        assert tuple(found.shape) == shape_of(weight) == (layer.out_features, layer.in_features)
        assert torch.equal(rows_of(weight, index), found[index])
        assert torch.equal(columns_of(weight, index), found[:, index])
        assert bytes_of(weight) < 0.7 * found.numel() * 2


@pytest.mark.parametrize("kind", BESIDE)
def test_before_training_the_outputs_are_the_bases_to_the_bit(base: Any, kind: str) -> None:
    before, hashes = logits(base), fingerprint_base(base)
    model = taught(base, **BESIDE[kind])
    assert torch.equal(bits(logits(model)), bits(before))
    train(model)
    assert not torch.equal(logits(model), before)
    receipt = check_base(model, hashes)
    assert receipt.clean
    assert receipt.tensors > 2 * 14  # numbers and scales of each layer
    with model.disable_adapter():
        assert torch.equal(bits(logits(model)), bits(before))
    model.train()
    with model.disable_adapter():
        assert torch.equal(bits(model(**token_batches()[0]).logits), bits(before))
    model.uninstall("touch")
    assert torch.equal(bits(logits(model)), bits(before))


@pytest.mark.parametrize("kind", BESIDE)
def test_values_are_pulled_back_to_the_numbers_that_it_stands_for(base: Any, kind: str) -> None:
    before = logits(base)
    model = taught(base, **BESIDE[kind])
    start = {name: value.detach().clone() for name, value in values(model).items()}
    train(model)
    end = {name: value.detach().clone() for name, value in values(model).items()}
    model.pull_back("touch", 0.5)
    for name, value in values(model).items():
        assert torch.allclose(value, (start[name] + end[name]) / 2, atol=1e-6)
    model.pull_back("touch", 0)
    assert torch.equal(bits(logits(model)), bits(before))


@pytest.mark.parametrize("kind", BESIDE)
def test_gradients_are_those_of_the_numbers_that_it_stands_for(tmp_path: Path, form: str, kind: str) -> None:
    one = taught(quantised_llama(tmp_path, form), **BESIDE[kind])
    other = taught(dequantised(quantised_llama(tmp_path, form)), **BESIDE[kind])
    assert values(one).keys() == values(other).keys()
    for name, update in one.updates("touch").items():
        torch.manual_seed(1)
        update.values.data += 0.05 * torch.randn_like(update.values)
        other.updates("touch")[name].values.data.copy_(update.values)
    for model in (one, other):
        model.train()
        loss(model).backward()
    for name, value in values(one).items():
        expected = values(other)[name].grad
        assert value.grad is not None
        assert expected is not None
        assert expected.any()
        assert torch.allclose(value.grad, expected, rtol=2e-3, atol=1e-3 * float(expected.abs().max())), name


def test_a_changed_bit_or_scale_is_seen(base: Any, form: str) -> None:
    hashes = fingerprint_base(base)
    weight = base.model.layers[0].mlp.up_proj.weight
    scale = weight.scale if form == "int8" else weight.quant_state.absmax
    scale.view(-1)[3] *= 1.01
    assert len(check_base(base, hashes).changed) == 1
    scale.copy_(scale)
    data = weight.qdata if form == "int8" else weight.data
    data.view(-1)[5] ^= 1
    assert len(check_base(base, hashes).changed) == 2


@pytest.mark.parametrize("score", SCORES)
def test_scores_are_of_the_dequantised_weights(tmp_path: Path, form: str, score: str) -> None:
    batches: list[dict[str, Any]] = token_batches()
    if score == "fisher":
        batches = [{**batch, "labels": batch["input_ids"]} for batch in batches]
    found = []
    for model in (quantised_llama(tmp_path, form), dequantised(quantised_llama(tmp_path, form))):
        linears = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear) and "layers" in n}
        scores = score_model(score, model, linears, batches)
        found.append({name: scores[name] for name in linears})
    for name, one in found[0].items():
        other = found[1][name]
        assert one.shape == other.shape
        assert torch.allclose(one, other, rtol=5e-3, atol=5e-3 * float(other.abs().max())), name


@pytest.mark.parametrize("structure", ["weights", "1:4", "matrices"])
def test_structures_that_need_a_dense_weight_are_refused(tmp_path: Path, form: str, structure: str) -> None:
    base = quantised_llama(tmp_path, form)
    for choose in (taught, lambda m, structure: plan_dormant(m, pa.DormantConfig(structure=structure))):
        with pytest.raises(DormantError, match=rf"structure='{structure}': .*q_proj is quantised \({form}\)"):
            choose(base, structure=structure)
    assert not any(isinstance(module, DormantLinear) for module in base.modules())


def test_nothing_is_merged_into_quantised_weights(tmp_path: Path, form: str) -> None:
    model = taught(quantised_llama(tmp_path, form), structure="rows")
    train(model)
    said = logits(model)
    with pytest.raises(DormantError, match=rf"quantised \({form}\), and nothing is merged"):
        model.merge_and_unload()
    assert torch.equal(logits(model), said)


def test_a_delta_goes_back_onto_the_same_quantised_base(tmp_path: Path, base: Any, form: str, dtype: Any) -> None:
    model = taught(base, structure="rows")
    train(model)
    model.save_pretrained(tmp_path / "delta")
    again = pa.DormantModel.from_pretrained(quantised_llama(tmp_path, form, dtype), tmp_path / "delta")
    assert torch.equal(bits(logits(again)), bits(logits(model)))


def test_a_copy_of_the_model_is_a_model(tmp_path: Path, form: str) -> None:
    model = taught(quantised_llama(tmp_path, form), structure="rows")
    train(model)
    assert torch.equal(logits(copy.deepcopy(model)), logits(model))


def test_no_dense_copy_of_a_weight_is_kept_for_the_backward_pass(tmp_path: Path, form: str) -> None:
    """Of one layer, at most: that of all would undo what quantising saves."""
    model = taught(quantised_llama(tmp_path, form), structure="rows", density=0.02)
    model.train()
    shapes = {shape_of(m.weight) for m in model.modules() if isinstance(m, nn.Linear) and form_of(m.weight)}
    kept: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    gc.collect()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss(model)
    own = {model.base_model.lm_head.weight.untyped_storage().data_ptr()}  # not quantised
    kept = [t for t in kept if type(t) is Tensor and t.is_floating_point()]  # not the packed weight itself
    kept = [t for t in kept if t.untyped_storage().data_ptr() not in own]
    assert not [t for t in kept if tuple(t.shape) in shapes | {s[::-1] for s in shapes}]


def test_what_bitsandbytes_rewrote_for_its_kernels_is_refused(tmp_path: Path) -> None:
    needs("nf4")
    base = quantised_llama(tmp_path, "nf4")
    base.model.layers[0].self_attn.q_proj.weight.quant_state.packing_format_for_cpu = True
    with pytest.raises(DormantError, match="bitsandbytes rewrote a 4-bit weight"):
        taught(base, structure="rows", score="random")


def test_rows_that_end_within_a_block_are_refused_on_the_cpu(tmp_path: Path) -> None:
    """bitsandbytes gives them wrong numbers there, silently."""
    needs("nf4")
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit
    from transformers import AutoModelForCausalLM

    weight = torch.randn(64, 48)
    found = dequantize_4bit(*quantize_4bit(weight, quant_type="nf4"))
    if (found - weight).norm() < 0.12 * weight.norm():
        pytest.skip("this version reads them rightly")
    tiny_llama(hidden_size=64, intermediate_size=48).save_pretrained(tmp_path)
    base = AutoModelForCausalLM.from_pretrained(tmp_path, **loading_in("nf4"))
    with pytest.raises(DormantError, match="a layer of 48 inputs, no multiple of 64"):
        taught(base, structure="rows", score="random")


def test_peft_shows_it(tmp_path: Path, form: str) -> None:
    peft = pytest.importorskip("peft")
    from pairalign.dormant.peft import to_peft

    base = quantised_llama(tmp_path, form)
    before = logits(base)
    model = peft.get_peft_model(base, to_peft(pa.DormantConfig(structure="rows", density=0.25)))
    assert torch.equal(logits(model), before)
    train(model)
    assert not torch.equal(logits(model), before)
    with model.disable_adapter():
        assert torch.equal(logits(model), before)


def test_a_plain_base_beside_it_is_not_touched(tmp_path: Path) -> None:
    model = taught(plain_llama(tmp_path), structure="rows")
    assert type(model.base_model.model.layers[0].mlp.up_proj) is DormantLinear
    assert type(model.unload().model.layers[0].mlp.up_proj) is nn.Linear


def moved(model: nn.Module, share: float) -> nn.Module:
    torch.manual_seed(3)
    for parameter in model.parameters():
        parameter.data += share * parameter.std() * torch.randn_like(parameter)
    return model


@pytest.mark.parametrize("kind", BESIDE)
def test_a_delta_fits_the_same_weights_in_another_form_with_a_note(tmp_path: Path, form: str, kind: str) -> None:
    """Made on plain weights it goes beside quantised ones, and the other way; the values are the same."""
    plain, quantised = plain_llama(tmp_path, torch.bfloat16), quantised_llama(tmp_path, form, torch.bfloat16)
    for made, other, words in (
        (plain, quantised_llama(tmp_path, form, torch.bfloat16), rf"in bfloat16, and this one is in {form}"),
        (quantised, plain_llama(tmp_path, torch.bfloat16), rf"in {form}, and this one is in bfloat16"),
    ):
        model = taught(made, **BESIDE[kind])
        train(model)
        model.save_pretrained(tmp_path / "delta")
        with pytest.warns(UserWarning, match=words):
            again = pa.DormantModel.from_pretrained(other, tmp_path / "delta")
        for name, value in values(model).items():
            assert torch.equal(values(again)[name].to(torch.bfloat16), value.to(torch.bfloat16))


@pytest.mark.parametrize("share", [0.02, 1.0])
def test_another_base_is_refused_in_any_form(tmp_path: Path, form: str, share: float) -> None:
    model = taught(quantised_llama(tmp_path, form), structure="rows")
    model.save_pretrained(tmp_path / "delta")
    with pytest.raises(DeltaError, match="is not that of the base"):
        pa.DormantModel.from_pretrained(moved(plain_llama(tmp_path), share), tmp_path / "delta")


def test_single_entries_go_onto_no_quantised_base(tmp_path: Path, form: str) -> None:
    taught(plain_llama(tmp_path), structure="weights").save_pretrained(tmp_path / "delta")
    base = quantised_llama(tmp_path, form)
    with pytest.raises(DeltaError, match=rf"is quantised \({form}\), and the delta's single entries"):
        pa.DormantModel.from_pretrained(base, tmp_path / "delta")
    assert not any(isinstance(module, DormantLinear) for module in base.modules())
