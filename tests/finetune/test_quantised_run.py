"""Stage two beside a quantised base: a whole run, its receipt, and what is refused before anything long."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from quantised_models import FORMS, llava_folder, needs
from stage_two import make_setup, values

import pairalign as pa
from pairalign.core.config import load_config
from pairalign.core.errors import ConfigError
from pairalign.core.limits import parse_json
from pairalign.dormant.quantised import form_of
from pairalign.finetune.config import RecomposeConfig
from pairalign.finetune.run import load_recomposed, plan_recompose, recompose_mllm


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_setup(tmp_path_factory.getbasetemp().parent / "stage_two")
    llava_folder(folder / "wide")
    return folder


def config(setup: Path, out: Path, **changes: Any) -> RecomposeConfig:
    told = {"structure": "rows", "density": 0.25, "score": "magnitude", **changes.pop("dormant", {})}
    given = values(setup, out, base=str(setup / "wide"), dormant=told, **changes)
    return load_config(RecomposeConfig, given)


@pytest.mark.parametrize("form", FORMS)
def test_a_run_beside_it(setup: Path, tmp_path: Path, form: str) -> None:
    needs(form)
    train = {**values(setup, tmp_path)["train"], "measure_with_signals": True}
    told = config(setup, tmp_path / "run", load_in=form, dtype="bfloat16", train=train)
    run = recompose_mllm(told, progress=False)
    assert form_of(run.model.llm.get_decoder().layers[0].mlp.up_proj.weight) == form
    receipt = parse_json((tmp_path / "run" / "receipt.json").read_bytes())
    assert receipt["clean"]
    assert receipt["owned"]["touch"] > 0
    again = load_recomposed(tmp_path / "run")
    ids = torch.tensor([[1, 5, 6, 7]])
    assert torch.equal(again.model.llm(ids).logits, run.model.llm(ids).logits)
    for name, update in run.model.llm.updates("touch").items():
        assert torch.equal(again.model.llm.updates("touch")[name].values, update.values.bfloat16().float())


@pytest.mark.parametrize("form", FORMS)
def test_a_dry_run_counts_what_it_takes(setup: Path, tmp_path: Path, form: str) -> None:
    needs(form)
    plain, small = (plan_recompose(config(setup, tmp_path / "run", load_in=one)) for one in (None, form))
    assert small.parameters == plain.parameters
    assert small.trained == plain.trained
    assert small.memory < plain.memory


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "full"}, r"load_in='int8': method='full' does not leave the base's weights alone: give .*dormant"),
        ({"method": "lora"}, r"method='lora' does not leave"),
        ({"dormant": {"structure": "weights"}}, r"load_in='int8': dormant.structure='weights' takes a dense weight"),
        ({"dormant": {"structure": "matrices"}}, r"structure='matrices' takes a dense weight"),
        ({"train": {"strategy": "fsdp2"}}, r"load_in='int8': train.strategy='fsdp2' shares out plain weights"),
    ],
)
def test_what_cannot_be_is_refused_first(setup: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        pa.recompose_mllm(config(setup, tmp_path / "run", load_in="int8", **changes))
    assert not (tmp_path / "run").exists()


def test_a_base_that_is_stored_quantised_is_no_base_for_full_tuning(setup: Path, tmp_path: Path) -> None:
    needs("int8")
    from pairalign.sensors.processor import Loading, load_base

    llm, processor = load_base(str(setup / "wide"), "bfloat16", loading=Loading(load_in="int8"))
    llm.save_pretrained(tmp_path / "stored")
    processor.save_pretrained(tmp_path / "stored")
    told = values(setup, tmp_path / "run", base=str(tmp_path / "stored"), method="full")
    with pytest.raises(ConfigError, match="method='full' does not leave the base's weights alone, which are quantised"):
        recompose_mllm(load_config(RecomposeConfig, told), progress=False)
