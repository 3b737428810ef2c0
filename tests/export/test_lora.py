"""`export --lora`: what PEFT loads is the merged model, whatever the structure; what it could not be is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from stage_two import TOUCH, short_run

import pairalign as pa
from pairalign.cli.main import main
from pairalign.core.errors import PackError
from pairalign.export import lora
from pairalign.finetune.run import RecomposeRun
from pairalign.sensors.processor import load_base

ROWS: dict[str, Any] = {"score": "magnitude", "structure": "rows", "density": 0.2}
DORMANT = {
    "rows": ROWS,
    "columns": {**ROWS, "structure": "columns"},
    "neurons": {**ROWS, "structure": "neurons", "target_modules": ("gate_proj", "up_proj", "down_proj")},
    "directions": {"structure": "directions", "score": "random", "density": 0.2},
    "directions, always": {"structure": "directions", "score": "random", "density": 0.2, "acts": "always"},
    "rows in bf16": ROWS,
    "directions in bf16": {"structure": "directions", "score": "random", "density": 0.2},
}
LEAN: dict[str, Any] = {
    "tasks": {"touch": TOUCH},
    "held_out": {},
    "train": {"steps": 4, "batch_size": 4, "warmup": 1, "lr": 0.05, "accelerator": "cpu", "measure_tokens": 0},
}


def taught(setup: Path, out: Path, name: str, dormant: dict[str, Any]) -> RecomposeRun:
    dtype = "bfloat16" if name.endswith("bf16") else "auto"
    return short_run(setup, out, dormant=dormant, dtype=dtype, **LEAN)


@pytest.mark.parametrize("name", DORMANT)
def test_peft_loads_the_merged_model(setup: Path, tmp_path: Path, name: str) -> None:
    from peft import PeftModel

    run = taught(setup, tmp_path / "run", name, DORMANT[name])
    pa.export_pack(run, tmp_path / "pack", merge=True, lora=tmp_path / "lora")
    told = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    assert told["base_model_name_or_path"] == "base"
    assert told["rank_pattern"] == told["alpha_pattern"]
    assert told["r"] == told["lora_alpha"] == max(told["rank_pattern"].values())
    base, _ = load_base(str(setup / "base"), run.config.dtype)
    merged, _ = load_base(str(tmp_path / "pack" / "merged"), run.config.dtype)
    ids = torch.tensor([[1, 7, 9, 20, 33, 41]])
    with torch.no_grad():
        plain = base(input_ids=ids).logits
        loaded: Any = PeftModel.from_pretrained(base, str(tmp_path / "lora")).eval()
        found, wanted = loaded(input_ids=ids).logits, merged(input_ids=ids).logits
    near = 2e-2 if name.endswith("bf16") else 1e-5
    assert float((found - wanted).abs().max() / wanted.abs().max()) < near
    assert float((found - plain).abs().max() / wanted.abs().max()) > 5 * near
    changed = run.model.llm.updates("touch")  # type: ignore[operator]
    assert {loaded.base_model.model.get_submodule(layer).scaling["default"] for layer in changed} == {1.0}
    page = (tmp_path / "lora" / "README.md").read_text()
    for words in ("at every token", "activated LoRA", "encoder and its bridge are not in it", "validation, touch"):
        assert words in page
    assert ("another model than what was trained" in page) == (not name.endswith("always"))
    assert str(tmp_path) not in page + json.dumps(told)


def test_rows_and_columns_are_selected_by_ones(setup: Path, tmp_path: Path) -> None:
    for name, part in (("rows", "B"), ("columns", "A")):
        run = taught(setup, tmp_path / name, name, DORMANT[name])
        pa.export_pack(run, tmp_path / f"pack-{name}", lora=tmp_path / f"lora-{name}")
        tensors = load_file(tmp_path / f"lora-{name}" / "adapter_model.safetensors")
        for module, update in run.model.llm.updates("touch").items():  # type: ignore[operator]
            selects = tensors[f"base_model.model.{module}.lora_{part}.weight"]
            assert int(selects.sum()) == int((selects == 1).sum()) == len(update.index)


def test_few_entries_are_rows_or_columns_and_many_are_refused(setup: Path, tmp_path: Path) -> None:
    run = taught(setup, tmp_path / "run", "weights", {**ROWS, "structure": "weights", "density": 0.1})
    with pytest.raises(PackError, match=r"--lora: the change of .* has rank 32 as it is stored, of at most 32 that a "):
        pa.export_pack(run, tmp_path / "pack", lora=tmp_path / "lora")
    assert not (tmp_path / "pack").exists()
    assert not (tmp_path / "lora").exists()
    llm: Any = run.model.llm
    for name, update in llm.updates("touch").items():
        back = update.positions() // update.shape[1] >= 3  # what is not of the first three rows is the base's again
        update.values.data[back] = update.take(llm.get_submodule(name).weight.detach())[back]
    pa.export_pack(run, tmp_path / "pack", lora=tmp_path / "lora")
    told = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    assert set(told["rank_pattern"].values()) <= {1, 2, 3}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"dormant": {"structure": "matrices"}},
            r"has rank 32 as it is stored, .* times as large as the weight",
        ),
        ({"method": "full"}, r"--lora: method 'full' left no update beside the base's weights"),
        ({"method": "bridge"}, r"--lora: method 'bridge' left no update"),
        ({"method": "lora"}, r"--lora: method 'lora' left no update"),
    ],
)
def test_what_has_no_low_rank_is_refused(setup: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    run = short_run(setup, tmp_path / "run", **{**LEAN, **changes})
    merge = changes.get("method") in ("full", "lora")
    with pytest.raises(PackError, match=message):
        pa.export_pack(run.folder, tmp_path / "pack", merge=merge, lora=tmp_path / "lora")
    assert not (tmp_path / "pack").exists()
    assert not (tmp_path / "lora").exists()


def test_a_folder_that_peft_reads_otherwise_is_not_left(
    setup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = taught(setup, tmp_path / "run", "rows", ROWS)
    write = lora.save_tensors

    def bent(path: Path, tensors: dict[str, torch.Tensor], about: Any) -> Path:
        name = next(name for name in tensors if name.endswith("lora_A.weight"))
        return write(path, {**tensors, name: tensors[name] + 1e-3}, about)

    monkeypatch.setattr(lora, "save_tensors", bent)
    with pytest.raises(PackError, match=r"PEFT loads it to another model .*nothing was written"):
        pa.export_pack(run, tmp_path / "pack", lora=tmp_path / "lora")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_without_peft_it_says_what_to_install(setup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = taught(setup, tmp_path / "run", "rows", ROWS)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(PackError, match=r"--lora needs PEFT.*pip install 'pairalign\[peft\]'"):
        pa.export_pack(run, tmp_path / "pack", lora=tmp_path / "lora")
    assert not (tmp_path / "pack").exists()
    pa.export_pack(run, tmp_path / "pack", merge=True)  # which needs none


def test_at_the_command_line(setup: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    taught(setup, tmp_path / "run", "rows", ROWS)
    words = ["export", str(tmp_path / "run"), str(tmp_path / "pack"), "--lora"]
    assert main([*words, str(tmp_path / "pack" / "lora")]) == 2
    assert "lie in each other" in capsys.readouterr().err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    assert main([*words, str(tmp_path / "mine")]) == 2
    assert "holds something already" in capsys.readouterr().err
    assert not (tmp_path / "pack").exists()
    assert main([*words, str(tmp_path / "lora")]) == 0
    printed = capsys.readouterr().out
    assert "adapter_model.safetensors" in printed
    assert "compared in PEFT with the merged model" in printed
    assert sorted(path.name for path in (tmp_path / "lora").iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
