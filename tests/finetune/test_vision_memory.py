"""A run that keeps what the base says of pictures reads each once, and learns what a run that reads them anew does."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from stage_two import IMAGE, TOUCH, killed, settings, short_run, values

from pairalign.core.errors import ConfigError
from pairalign.finetune.pictures import Pictures
from pairalign.finetune.run import RecomposeRun, plan_recompose
from pairalign.sensors.vision import VisionMemory

KEPT = {"vision_memory": 0.1}


def run(setup: Path, out: Path, **train: Any) -> RecomposeRun:
    """Touches, and questions about eight pictures with a touch by the way; each of them comes up twice."""
    told = {"steps": 4, "batch_size": 8, "warmup": 1, "accelerator": "cpu", "lr": 0.01, "measure_tokens": 0}
    told |= {"rehearse": {"share": 0.5}, "checkpoint_every": 2, **train}
    parts: dict[str, Any] = {"tasks": {"touch": TOUCH}, "validation": {}, "held_out": {}, "calibration_size": 8}
    making = {"score": "magnitude", "structure": "rows", "density": 0.25}
    return short_run(setup, out, dormant=making, train=told, **parts)


def weights(done: RecomposeRun) -> dict[str, torch.Tensor]:
    return {name: p.detach() for name, p in done.model.named_parameters() if "updates" in name or "bridge" in name}


@pytest.fixture(scope="module")
def kept(setup: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RecomposeRun, Counter[bool]]:
    """A run, and how often a picture was read, or taken from memory."""
    found: Counter[bool] = Counter()
    plain = VisionMemory._of

    def counted(self: VisionMemory, ask: Any, call: Any) -> Any:
        had = len(self.kept)
        seen = plain(self, ask, call)
        found[len(self.kept) == had] += 1
        return seen

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VisionMemory, "_of", counted)
        return run(setup, tmp_path_factory.mktemp("kept") / "run", **KEPT), found


def test_each_picture_is_read_once_and_as_much_is_learned(
    setup: Path, tmp_path: Path, kept: tuple[RecomposeRun, Counter[bool]]
) -> None:
    done, found = kept
    assert found[False] == 8
    assert found[True] == 2 * 16 - 8  # sixteen places that rehearse, each asked with the updates off, and on
    anew, own = weights(run(setup, tmp_path / "anew")), weights(done)
    assert own.keys() == anew.keys()
    assert all(torch.allclose(value, anew[name], atol=2e-4) for name, value in own.items())


def test_a_run_that_was_killed_goes_on_to_the_bit(
    setup: Path, tmp_path: Path, kept: tuple[RecomposeRun, Counter[bool]]
) -> None:
    with killed(3):
        run(setup, tmp_path / "run", **KEPT)
    again = weights(run(setup, tmp_path / "run", **KEPT))
    assert all(torch.equal(value, again[name]) for name, value in weights(kept[0]).items())


def test_a_tower_that_would_train_is_refused_before_anything_is_scored(setup: Path, tmp_path: Path) -> None:
    making = {"structure": "rows", "acts": "always", "target_modules": ".*vision_tower.*fc1"}
    train = {**values(setup, tmp_path)["train"], **KEPT}
    with pytest.raises(ConfigError, match=r"train.vision_memory: .*vision_tower.*fc1.* trains.*target_modules"):
        short_run(setup, tmp_path / "run", dormant=making, tasks={"touch": TOUCH, "image": IMAGE}, train=train)
    assert not (tmp_path / "run" / "last.ckpt").exists()


def test_a_plan_says_what_it_takes(setup: Path, tmp_path: Path) -> None:
    """Of training tasks with pictures, and of those that are rehearsed."""
    train = {**values(setup, tmp_path)["train"], "measure_tokens": 0, "rehearse": {"share": 0.5}, "vision_memory": 1.0}
    making = {"score": "random", "structure": "rows", "density": 0.25, "acts": "always"}
    parts: dict[str, Any] = {"validation": {}, "held_out": {}, "tasks": {"touch": TOUCH, "image": IMAGE}}
    plan = plan_recompose(settings(setup, tmp_path / "run", dormant=making, train=train, **parts))
    assert plan.pictures is not None
    assert plan.pictures.samples == 48 + 16
    assert "pictures: 64 samples with pictures, whose features take " in str(plan)
    assert ": train.vision_memory=1 keeps 100% of them, and that saves up to " in str(plan)
    off = str(Pictures(8, 1000, 0.1, 0.0))
    assert ": to keep them saves 0.1 s of a batch once they are read, but train.vision_memory is 0" in off
