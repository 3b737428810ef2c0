"""Dormant tuning through PEFT's own functions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from recompose_models import ALL, logits, loss, tiny_llama, token_batches

import pairalign as pa
from pairalign.core.errors import DeltaError
from pairalign.dormant.receipt import check_base, fingerprint_base

peft = pytest.importorskip("peft")
from pairalign.dormant.peft import to_peft  # noqa: E402


def config(structure: str) -> Any:
    options: dict[str, Any] = {"score": "wanda", "density": 0.25, **ALL[structure]}
    return to_peft(pa.DormantConfig(**options), token_batches())


def tuned(structure: str = "rows") -> Any:
    model = peft.get_peft_model(tiny_llama(), config(structure))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.05, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        loss(model).backward()
        optimizer.step()
    return model.eval()


@pytest.mark.parametrize("structure", ALL)
def test_train_save_load_merge(tmp_path: Path, structure: str) -> None:
    base = tiny_llama()
    before = fingerprint_base(base)
    model = tuned(structure)
    assert not torch.allclose(logits(model), logits(base))
    with model.disable_adapter():
        assert torch.equal(logits(model), logits(base))
    assert check_base(model.base_model.tuned, before).clean
    model.save_pretrained(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} >= {"adapter_config.json", "adapter_model.safetensors"}
    again = peft.PeftModel.from_pretrained(tiny_llama(), tmp_path).eval()
    assert again.base_model.tuned.origins == model.base_model.tuned.origins
    assert again.base_model.tuned.origins["default"]["calibration"]["batches"] == 3
    torch.testing.assert_close(logits(again), logits(model), atol=1e-6, rtol=0)
    assert not any(p.requires_grad for p in again.parameters())
    merged = again.merge_and_unload()
    assert [name for name, _ in merged.named_parameters()] == [name for name, _ in base.named_parameters()]
    torch.testing.assert_close(logits(merged), logits(model), atol=1e-5, rtol=1e-5)


def test_a_loaded_adapter_goes_on_training(tmp_path: Path) -> None:
    model = tuned()
    model.save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(tiny_llama(), tmp_path, is_trainable=True)
    assert again.get_nb_trainable_parameters()[0] == model.get_nb_trainable_parameters()[0] > 0
    loss(again).backward()
    assert all(p.grad is not None for p in again.parameters() if p.requires_grad)


def test_two_adapters_own_weights_of_their_own(tmp_path: Path) -> None:
    model = tuned()
    alone = logits(model)
    model.add_adapter("points", config("rows"))
    first, second = model.base_model.tuned.masks("default"), model.base_model.tuned.masks("points")
    assert all(not set(first[n].index.tolist()) & set(second[n].index.tolist()) for n in first)
    model.set_adapter("points")
    assert torch.equal(logits(model.eval()), alone)
    model.delete_adapter("default")
    assert torch.equal(logits(model), logits(tiny_llama()))


def test_the_written_configuration_is_the_dormant_one(tmp_path: Path) -> None:
    tuned().save_pretrained(tmp_path)
    written = json.loads((tmp_path / "adapter_config.json").read_text())
    assert written["peft_type"] == "DORMANT"
    assert written["dormant"]["structure"] == "rows"
    assert peft.PeftConfig.from_pretrained(tmp_path).dormant["density"] == 0.25


def test_another_base_is_refused(tmp_path: Path) -> None:
    tuned().save_pretrained(tmp_path)
    with pytest.raises(DeltaError, match=r"is not that of the base"):
        peft.PeftModel.from_pretrained(tiny_llama(seed=5), tmp_path)
