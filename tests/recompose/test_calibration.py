"""What a choice of weights rests on is kept with it: sample keys through masks, deltas and significance files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from recompose_models import tiny_llama, token_batches

import pairalign as pa
from pairalign.recompose.calibration import Calibration
from pairalign.recompose.linears import find_linears
from pairalign.recompose.model import DormantModel
from pairalign.recompose.significance import load_scores, save_scores, score_model

ORIGIN = [{"set": "captions", "split": "train", "prompt": "{text}", "content_hash": "c0", "keys": ["a", "b"]}]


def known() -> Calibration:
    return Calibration(token_batches(), ORIGIN)


def config(**changes: Any) -> pa.DormantConfig:
    return pa.DormantConfig(**{"score": "wanda", "structure": "rows", "density": 0.25, **changes})


def test_keys_go_with_the_delta_and_come_back(tmp_path: Path) -> None:
    model = pa.get_dormant_model(tiny_llama(), config(), known())
    assert model.calibrated == {"sensor": ORIGIN}
    model.save_pretrained(tmp_path)
    again = DormantModel.from_pretrained(tiny_llama(), tmp_path)
    assert again.calibrated == {"sensor": ORIGIN}
    again.uninstall("sensor")
    assert again.calibrated == {}


def test_scores_of_a_file_bring_the_keys_they_were_made_from(tmp_path: Path) -> None:
    base, path = tiny_llama(), tmp_path / "s.safetensors"
    linears = find_linears(base)
    save_scores(score_model("wanda", base, linears, known()), linears, path, progress=False, calibration=ORIGIN)
    model = pa.get_dormant_model(base, config(), token_batches(), scores=load_scores(path))
    assert model.calibrated == {"sensor": ORIGIN}


@pytest.mark.parametrize(
    "settings", [{"score": "random"}, {"score": "magnitude"}, {"structure": "matrices", "density": 1.0}]
)
def test_a_choice_that_looks_at_no_data_rests_on_none(settings: dict[str, Any]) -> None:
    assert pa.get_dormant_model(tiny_llama(), config(**settings), known()).calibrated == {"sensor": []}


def test_a_plain_list_says_nothing() -> None:
    assert pa.get_dormant_model(tiny_llama(), config(), token_batches()).calibrated == {"sensor": []}


def test_sets_are_joined_in_order() -> None:
    other = [{**ORIGIN[0], "set": "pictures"}]
    both = Calibration.joined([known(), Calibration([{"x": 1}], other)])
    assert both.origin == [*ORIGIN, *other]
    assert both[-1] == {"x": 1}
    assert not Calibration.joined([])
