"""Scores on disk: the same masks, one matrix at a time, nothing half-written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from recompose_models import tiny_llama, token_batches
from safetensors.torch import load_file, save_file
from torch import Tensor

import pairalign as pa
from pairalign.core.errors import DormantError
from pairalign.dormant.linears import find_linears
from pairalign.dormant.significance import load_scores, save_scores, score_model


def test_a_file_gives_the_masks_that_the_scores_give(tmp_path: Path) -> None:
    base = tiny_llama()
    linears = find_linears(base)
    scores = score_model("wanda", base, linears, token_batches())
    save_scores(scores, linears, tmp_path / "out" / "wanda.safetensors", progress=False, score="wanda", seed=0)
    stored = load_scores(tmp_path / "out" / "wanda.safetensors")
    about = stored.about
    assert {name: about[name] for name in ("kind", "score", "seed")} == {
        "kind": "significance", "score": "wanda", "seed": 0,
    }  # fmt: skip
    assert all(stored.of(linears)[name].equal(scores[name]) for name in linears)
    assert list(stored) == list(linears)
    config = pa.DormantConfig(structure="weights", budget="global", density=0.2, score="wanda")
    direct = pa.get_dormant_model(tiny_llama(), config, token_batches()).masks("sensor")
    read = pa.get_dormant_model(tiny_llama(), config, scores=stored).masks("sensor")
    assert all(read[name].index.equal(direct[name].index) for name in linears)


class Watched(Mapping[str, Tensor]):
    """Counts how many of its matrices are alive at once."""

    def __init__(self, scores: Mapping[str, Tensor]) -> None:
        self.scores, self.alive, self.most = scores, 0, 0

    def __getitem__(self, name: str) -> Tensor:
        import weakref

        score = self.scores[name].clone()
        self.alive += 1
        self.most = max(self.most, self.alive)
        weakref.finalize(score, lambda: setattr(self, "alive", self.alive - 1))
        return score

    def __iter__(self) -> Iterator[str]:
        return iter(self.scores)

    def __len__(self) -> int:
        return len(self.scores)


def test_writing_holds_one_matrix_at_a_time(tmp_path: Path) -> None:
    base = tiny_llama(layers=4)
    linears = find_linears(base)
    watched = Watched(score_model("random", base, linears))
    save_scores(watched, linears, tmp_path / "s.safetensors", progress=False)
    assert watched.most <= 2  # the next is computed before the last is let go


def test_a_failure_leaves_no_file(tmp_path: Path) -> None:
    linears = find_linears(tiny_llama())
    wrong = {name: torch.zeros(2, 2) for name in linears}
    with pytest.raises(DormantError, match=r"score of model.layers.0.self_attn.q_proj has shape \[2, 2\]"):
        save_scores(wrong, linears, tmp_path / "s.safetensors", progress=False)
    assert not list(tmp_path.iterdir())


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    base = tiny_llama()
    linears = find_linears(base, ("q_proj",))
    save_scores(score_model("magnitude", base, linears), linears, tmp_path / "q.safetensors", progress=False)
    stored = load_scores(tmp_path / "q.safetensors")
    with pytest.raises(DormantError, match=r"scores: model.layers.0.self_attn.k_proj and 11 more layers are missing"):
        pa.get_dormant_model(base, pa.DormantConfig(), scores=stored)
    wide = pa.DormantConfig(target_modules=("q_proj",))
    with pytest.raises(DormantError, match=r"are of another base: model.layers.0.self_attn.q_proj.weight is not what"):
        pa.get_dormant_model(tiny_llama(seed=1), wide, scores=stored)
    dense = {name: torch.zeros(32, 32) for name in linears}
    with pytest.raises(DormantError, match=r"has shape \(32, 32\), its weight \(64, 64\)"):
        pa.get_dormant_model(tiny_llama(hidden_size=64), wide, scores=dense)
    with pytest.raises(DormantError, match="is no file: write one with save_scores"):
        load_scores(tmp_path / "none.safetensors")
    save_file({"w": torch.zeros(2, 2)}, tmp_path / "other.safetensors")
    with pytest.raises(DormantError, match="is damaged, or no significance file"):
        load_scores(tmp_path / "other.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "q.safetensors").read_bytes()[:300])
    with pytest.raises(DormantError, match="is damaged, or no significance file"):
        load_scores(tmp_path / "cut.safetensors")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["magnitude", "wanda", "splash"])
def test_factors_say_what_matrices_say_in_little_room(tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    base = tiny_llama().to(dtype)
    linears = find_linears(base)
    scores = score_model(name, base, linears, token_batches())
    matrices = {layer: scores[layer] for layer in linears}
    save_scores(scores, linears, tmp_path / "factors.safetensors", progress=False, method=name)
    save_scores(matrices, linears, tmp_path / "matrices.safetensors", progress=False, method=name)
    factors, dense = (load_scores(tmp_path / f"{kind}.safetensors") for kind in ("factors", "matrices"))
    assert all(factors.of(linears)[layer].equal(dense[layer]) for layer in linears)
    held = [(tmp_path / f"{kind}.safetensors").stat().st_size for kind in ("factors", "matrices")]
    assert held[0] < held[1] / 4
    assert load_file(tmp_path / "matrices.safetensors").keys() == linears.keys()  # as files of before
    for structure, budget in (("weights", "global"), ("rows", "owl"), ("1:4", "per_row")):
        config = pa.DormantConfig(structure=structure, budget=budget, density=0.25)  # type: ignore[arg-type]
        one, other = (
            pa.get_dormant_model(tiny_llama().to(dtype), config, scores=given).masks("sensor")
            for given in (factors, dense)
        )
        assert all(one[layer].index.equal(other[layer].index) for layer in linears)


def test_factors_are_of_one_base(tmp_path: Path) -> None:
    base = tiny_llama()
    linears = find_linears(base)
    save_scores(score_model("magnitude", base, linears), linears, tmp_path / "s.safetensors", progress=False)
    stored = load_scores(tmp_path / "s.safetensors")
    with pytest.raises(DormantError, match=r"hold factors of a base's weights: ask scores.of\(linears\)"):
        stored["model.layers.0.self_attn.q_proj"]
    first = pa.get_dormant_model(base, pa.DormantConfig(structure="rows", density=0.25), scores=stored, sensor="touch")
    with torch.no_grad():
        for update in first.updates("touch").values():
            update.values.add_(1)
    first(**token_batches()[0])
    again = pa.get_dormant_model(first, pa.DormantConfig(structure="rows", density=0.25), scores=stored, sensor="glove")
    assert list(again.dormant) == ["touch", "glove"]  # what a sensor put into the base is no other base
