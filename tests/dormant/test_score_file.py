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
    about = stored.about  # type: ignore[attr-defined]
    assert {name: about[name] for name in ("kind", "score", "seed")} == {
        "kind": "significance", "score": "wanda", "seed": 0,
    }  # fmt: skip
    assert all(stored[name].equal(scores[name]) for name in linears)
    assert load_file(tmp_path / "out" / "wanda.safetensors").keys() == linears.keys()
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
    watched = Watched(score_model("magnitude", base, linears))
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
    with pytest.raises(DormantError, match=r"has shape \(32, 32\), its weight \(64, 64\)"):
        pa.get_dormant_model(tiny_llama(hidden_size=64), wide, scores=stored)
    with pytest.raises(DormantError, match="is no file: write one with save_scores"):
        load_scores(tmp_path / "none.safetensors")
    save_file({"w": torch.zeros(2, 2)}, tmp_path / "other.safetensors")
    with pytest.raises(DormantError, match="is damaged, or no significance file"):
        load_scores(tmp_path / "other.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "q.safetensors").read_bytes()[:300])
    with pytest.raises(DormantError, match="is damaged, or no significance file"):
        load_scores(tmp_path / "cut.safetensors")
