"""A base quantised while it is loaded: refused clearly where it cannot be, and sensed beside where it can."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from quantised_models import FORMS, llava_folder, needs
from sensing import gels, logits, make_sensor
from torch import nn

import pairalign as pa
from pairalign.core.errors import ConfigError
from pairalign.dormant.model import get_dormant_model
from pairalign.dormant.quantised import form_of
from pairalign.dormant.receipt import check_base, fingerprint_base
from pairalign.sensors.model import SensorModel
from pairalign.sensors.processor import Loading, load_base
from pairalign.sensors.quantise import PACKAGES


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    needs(request.param)
    return str(request.param)


def loaded(folder: Path, form: str | None, dtype: str = "auto") -> Any:
    how = Loading(load_in=form)
    return load_base(str(llava_folder(folder / "base")), dtype, loading=how)


def sensing(folder: Path, form: str, dtype: str = "auto") -> tuple[SensorModel, int]:
    llm, processor = loaded(folder, form, dtype)
    model, token = SensorModel(llm), len(processor.tokenizer)
    model.add("touch", make_sensor(llm), token)
    return model.eval(), token


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_linear_layers_are_in_it_and_the_rest_keeps_its_dtype(tmp_path: Path, form: str, dtype: str) -> None:
    llm, _ = loaded(tmp_path, form, dtype)
    forms = {name: form_of(m.weight) for name, m in llm.named_modules() if isinstance(m, nn.Linear)}
    assert set(forms.values()) == {form, None}
    assert [name for name, found in forms.items() if found is None] == ["lm_head"]
    assert llm.get_input_embeddings().weight.dtype == getattr(torch, dtype)


def test_a_base_gives_the_same_logits_in_training_and_in_evaluation(tmp_path: Path, form: str) -> None:
    """bitsandbytes would rewrite its weights at the first call in evaluation mode, on CPUs that have bf16."""
    llm, _ = loaded(tmp_path, form, "bfloat16")
    hashes, ids = fingerprint_base(llm), torch.tensor([[1, 5, 6, 7]])
    first = llm(ids).logits
    with torch.no_grad():
        still = llm(ids).logits
    assert torch.equal(first, still)
    assert check_base(llm, hashes).clean
    assert torch.equal(llm.train()(ids).logits, first)


@pytest.mark.parametrize("acts", ["sensor", "always"])
def test_a_step_beside_it_moves_what_it_should_alone(tmp_path: Path, form: str, acts: Any) -> None:
    model, token = sensing(tmp_path, form, "bfloat16")
    ids = torch.tensor([[1, 5, *[token] * 4, 6, 7], [1, 5, 9, 8, 4, 7, 6, 3]])
    mask, given = torch.ones_like(ids), {"touch": gels(1)}
    plain = logits(model, ids, mask, signals=given)
    hashes = fingerprint_base(model.llm)
    model.llm = get_dormant_model(
        model.llm, pa.DormantConfig(structure="rows", density=0.25, acts=acts), sensor="touch"
    )
    assert torch.equal(logits(model, ids, mask, signals=given), plain)
    model.train()
    model(ids, given, attention_mask=mask).logits.float().square().sum().backward()
    with torch.no_grad():
        for update in model.llm.updates("touch").values():
            assert update.values.grad is not None
            assert update.values.grad.any()
            update.values -= 0.1 * update.values.grad.sign()
    model.eval()
    found = (logits(model, ids, mask, signals=given) != plain).any(-1)
    assert found[0].tolist() == [acts == "always"] * 2 + [True] * 6
    assert found[1].tolist() == [acts == "always"] * 8
    with model.llm.disable_adapter():
        assert torch.equal(logits(model, ids, mask, signals=given), plain)
    assert check_base(model.llm, hashes).clean


def test_generation_goes_on_beside_it(tmp_path: Path, form: str) -> None:
    model, token = sensing(tmp_path, form)
    ids = torch.tensor([[1, 5, *[token] * 4, 6, 7]])
    said = model.generate(ids, {"touch": gels(1)}, attention_mask=torch.ones_like(ids), max_new_tokens=3)
    assert said.shape[0] == 1


def test_a_base_that_is_stored_quantised_loads_as_it_is(tmp_path: Path, form: str) -> None:
    llm, processor = loaded(tmp_path, form, "bfloat16")
    llm.save_pretrained(tmp_path / "stored")
    processor.save_pretrained(tmp_path / "stored")
    again, _ = load_base(str(tmp_path / "stored"))
    ids = torch.tensor([[1, 5, 6, 7]])
    assert torch.equal(again(ids).logits, llm(ids).logits)
    assert form_of(again.get_decoder().layers[0].mlp.up_proj.weight) == form
    get_dormant_model(again, pa.DormantConfig(structure="rows", density=0.25))


def test_an_unknown_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"load_in='int9': give int8 or nf4.*int8"):
        loaded(tmp_path, "int9")


@pytest.mark.parametrize("form", FORMS)
def test_a_missing_package_is_named(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pairalign.sensors.quantise.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=rf"needs {PACKAGES[form][0]}.*pip install 'pairalign\[quant\]'"):
        loaded(tmp_path, form)


def test_what_is_stored_in_a_form_that_is_not_known_is_refused(tmp_path: Path) -> None:
    from pairalign.sensors.quantise import settle_base

    llm, _ = loaded(tmp_path, None)
    up = llm.get_decoder().layers[0].mlp.up_proj
    up.weight = nn.Parameter(up.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(ConfigError, match=r"base='x' is stored quantised in a form that is not known \(.*up_proj"):
        settle_base(llm, "x", None)
