"""A base is scored once: not again on a resume, nor by another run that asks for the same scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from stage_two import IMAGE, TOUCH, killed, settings, short_run

from pairalign.dormant import cache, choose
from pairalign.finetune.methods import method
from pairalign.finetune.run import plan_recompose

TRAIN = {"steps": 4, "batch_size": 4, "checkpoint_every": 2, "warmup": 1, "accelerator": "cpu", "measure_tokens": 0}
LEAN: dict[str, Any] = {"train": TRAIN, "tasks": {"touch": TOUCH}, "held_out": {}, "validation": {}}
OWNERS = [
    (choose, "score_model"),
    (choose, "input_moments"),
    (cache, "score_model"),
    (method, "score_model"),
]


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every pass over the base that chooses weights, by what asked for it."""
    asked: list[str] = []
    for module, name in OWNERS:
        plain = getattr(module, name)

        def watched(*args: Any, plain: Any = plain, name: str = name, **options: Any) -> Any:
            asked.append(name)
            return plain(*args, **options)

        monkeypatch.setattr(module, name, watched)
    return asked


def state(run: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in run.model.state_dict().items()}


@pytest.mark.parametrize(
    ("structure", "score"),
    [
        ("rows", "splash"),
        pytest.param("weights", "fisher", marks=pytest.mark.slow),
        pytest.param("directions", "splash", marks=pytest.mark.slow),
        pytest.param("1:4", "wanda", marks=pytest.mark.slow),
    ],
)
def test_a_resumed_run_does_not_score_again(
    setup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scored: list[str], structure: str, score: str
) -> None:
    changes = {**LEAN, "dormant": {"score": score, "structure": structure, "density": 0.25}}
    whole = short_run(setup, tmp_path / "whole", **changes)
    assert len(scored) == 1
    assert not (tmp_path / "whole" / "chosen").exists()
    with killed(3):
        short_run(setup, tmp_path / "killed", **changes)
    assert len(scored) == 2
    again = short_run(setup, tmp_path / "killed", **changes)
    assert len(scored) == 2
    expected = state(whole)
    assert all(value.equal(expected[name]) for name, value in state(again).items())
    assert again.model.llm.origins == whole.model.llm.origins  # type: ignore[union-attr]


def test_what_was_chosen_by_other_settings_is_not_taken_up(
    setup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scored: list[str]
) -> None:
    from pairalign.finetune.config import RecomposeConfig

    def told(config: RecomposeConfig) -> method.Setup:
        return method.Setup(config.dormant, [{"input_ids": torch.tensor([[1]])}], "touch", config.scores)

    config = settings(setup, tmp_path)
    key = told(config).key()
    assert key == told(settings(setup, tmp_path)).key()
    for changes in ({"dormant": {"density": 0.3}}, {"scores": "other"}):
        assert told(settings(setup, tmp_path, **changes)).key() != key
    other = told(config)._replace(calibration=[{"input_ids": torch.tensor([[2]])}])
    assert other.key() != key


@pytest.mark.parametrize("score", ["splash", pytest.param("fisher", marks=pytest.mark.slow)])
def test_arms_that_share_a_cache_score_once(setup: Path, tmp_path: Path, scored: list[str], score: str) -> None:
    def arm(name: str, **changes: Any) -> Any:
        about = {"score": score, "density": 0.25, **changes.pop("dormant", {})}
        return short_run(setup, tmp_path / name, **{**LEAN, "dormant": about, **changes})

    plain = arm("plain")
    kept = {"score_cache": str(tmp_path / "cache")}
    first = arm("first", **kept)
    assert len(scored) == 2
    second = arm("second", dormant={"structure": "rows"}, **kept)
    assert len(scored) == 2
    assert all(value.equal(state(plain)[name]) for name, value in state(first).items())
    assert second.results["trained"] > 0
    arm("third", calibration={"others": {**IMAGE, "split": "val"}}, **kept)
    assert len(scored) == 3
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_dry_run_writes_no_scores(setup: Path, tmp_path: Path) -> None:
    plan_recompose(settings(setup, tmp_path / "run", score_cache=str(tmp_path / "cache")))
    assert not list(tmp_path.iterdir())
