"""A delta on disk: back to the bit, no larger than it must be, and refused wherever it does not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from recompose_models import ALL, STRUCTURES, dormant, logits, tiny_llama, token_batches, train

import pairalign as pa
from pairalign.core.errors import DeltaError, DormantError
from pairalign.dormant.checkpoint import CONFIG, WEIGHTS
from pairalign.dormant.model import DormantModel


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("options", ALL.values(), ids=ALL)
def test_it_comes_back(tmp_path: Path, options: dict[str, Any], dtype: torch.dtype) -> None:
    model = dormant(tiny_llama().to(dtype), **options)
    train(model)
    model.save_pretrained(tmp_path)
    again = DormantModel.from_pretrained(tiny_llama().to(dtype), tmp_path)
    assert logits(again).equal(logits(model))
    assert again.dormant == model.dormant
    assert not any(p.requires_grad for p in again.parameters())
    more = DormantModel.from_pretrained(tiny_llama().to(dtype), tmp_path, trainable=True)
    train(more)
    again.uninstall("touch")
    assert logits(again).equal(logits(tiny_llama().to(dtype)))


@pytest.mark.parametrize("options", STRUCTURES.values(), ids=STRUCTURES)
def test_its_size_is_values_and_one_bit_an_entry(tmp_path: Path, options: dict[str, Any]) -> None:
    model = dormant(tiny_llama(hidden_size=256, intermediate_size=512), **{**options, "density": 0.1})
    model.save_pretrained(tmp_path)
    values = sum(4 * update.count for update in model.updates("touch").values())
    entries = sum(update.shape[0] * update.shape[1] for update in model.updates("touch").values())
    assert (tmp_path / WEIGHTS).stat().st_size <= 1.01 * (values + entries / 8)


@pytest.mark.parametrize("options", ALL.values(), ids=ALL)
def test_installing_commutes(tmp_path: Path, options: dict[str, Any]) -> None:
    model = dormant(tiny_llama(), **options)
    train(model)
    model.save_pretrained(tmp_path / "touch")
    model = pa.get_dormant_model(model, model.dormant["touch"], token_batches(), sensor="glove")
    train(model)
    model.save_pretrained(tmp_path / "glove", "glove")
    both = [DormantModel.from_pretrained(tiny_llama(), tmp_path / name) for name in ("touch", "glove")]
    for one, name in zip(both, ("glove", "touch"), strict=True):
        DormantModel.from_pretrained(one, tmp_path / name)
    torch.testing.assert_close(logits(both[0]), logits(both[1]), rtol=1e-6, atol=1e-7)
    if options["structure"] != "directions":  # whose sum is added in another order
        assert logits(both[0]).equal(logits(both[1]))


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    model = dormant(tiny_llama(), structure="rows")
    model.save_pretrained(tmp_path)

    def refused(message: str, base: torch.nn.Module | None = None) -> None:
        base = base or tiny_llama()
        before = [p.clone() for p in base.parameters()]
        with pytest.raises(DeltaError, match=message):
            DormantModel.from_pretrained(base, tmp_path)
        assert all(p.equal(b) for p, b in zip(base.parameters(), before, strict=True))

    refused("is not that of the base that the delta was made for", tiny_llama(seed=1))
    refused(r"of what bfloat16 and float32 can tell, \d+% agrees", tiny_llama(seed=1).bfloat16())
    shorter = tiny_llama()
    shorter.model.layers = shorter.model.layers[:1]
    refused("which the model does not have", shorter)
    record = json.loads((tmp_path / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps({**record, "format": 9}))
    refused("format 9, this version reads 1: install a newer pairalign")
    (tmp_path / CONFIG).write_text("{")
    refused("is damaged")
    (tmp_path / CONFIG).write_text(json.dumps(record))
    whole = (tmp_path / WEIGHTS).read_bytes()
    (tmp_path / WEIGHTS).write_bytes(whole[: len(whole) // 2])
    refused("is damaged or incomplete")
    (tmp_path / WEIGHTS).unlink()
    refused("is damaged or incomplete")
    (tmp_path / CONFIG).unlink()
    refused("is missing: give a folder that save_pretrained wrote")


def test_a_sensor_is_installed_once(tmp_path: Path) -> None:
    model = dormant(tiny_llama(), structure="rows")
    model.save_pretrained(tmp_path)
    with pytest.raises(DormantError, match="sensor 'touch' is there already"):
        DormantModel.from_pretrained(model, tmp_path)
    with pytest.raises(DormantError, match=r"sensor 'glove' is not installed\. Installed: touch"):
        model.uninstall("glove")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_delta_fits_the_same_base_in_another_dtype_with_a_note(tmp_path: Path, dtype: torch.dtype) -> None:
    """Either way: its values stand in place of the base's, whatever these were rounded to."""
    model = dormant(tiny_llama(), structure="rows")
    train(model)
    model.save_pretrained(tmp_path / "wide")
    with pytest.warns(UserWarning, match=r"made on a base in float32, and this one is in \w+16: .*Measure again"):
        narrow = DormantModel.from_pretrained(tiny_llama().to(dtype), tmp_path / "wide")
    for name, update in narrow.updates("touch").items():
        assert torch.equal(update.values, model.updates("touch")[name].values)
    narrow.save_pretrained(tmp_path / "narrow")
    with pytest.warns(UserWarning, match=r"made on a base in \w+16, and this one is in float32"):
        DormantModel.from_pretrained(tiny_llama(), tmp_path / "narrow")


@pytest.mark.parametrize("moved", [3e-3, 1e-2])
def test_a_fine_tune_in_another_dtype_is_another_base(tmp_path: Path, moved: float) -> None:
    model = dormant(tiny_llama(), structure="rows")
    model.save_pretrained(tmp_path)
    tuned = tiny_llama()
    torch.manual_seed(3)
    for parameter in tuned.parameters():
        parameter.data += moved * parameter.std() * torch.randn_like(parameter)
    with pytest.raises(DeltaError, match="is not that of the base"):
        DormantModel.from_pretrained(tuned.bfloat16(), tmp_path)


def test_a_delta_that_says_less_needs_the_same_dtype(tmp_path: Path) -> None:
    """As those that earlier versions wrote."""
    from safetensors.torch import load_file, save_file

    dormant(tiny_llama(), structure="rows").save_pretrained(tmp_path)
    kept = {key: t for key, t in load_file(tmp_path / WEIGHTS).items() if not key.endswith(".cells")}
    save_file(kept, tmp_path / WEIGHTS, {"format": "pt"})
    DormantModel.from_pretrained(tiny_llama(), tmp_path)
    with pytest.raises(DeltaError, match=r"is .* of bfloat16, the delta was made for .* of torch.float32, .*as it was"):
        DormantModel.from_pretrained(tiny_llama().bfloat16(), tmp_path)
