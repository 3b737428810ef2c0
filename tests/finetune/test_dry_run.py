"""A dry run says of every method what its run then trains and saves, and fails where that would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from stage_two import DORMANT, IMAGE, TOUCH, settings, short_run, values

from pairalign.core.errors import PairalignError
from pairalign.finetune.methods import method_names
from pairalign.finetune.run import plan_recompose


def stored(folder: Path) -> int:
    """Bytes of tensors in the files that a run saves, their headers aside."""
    total = 0
    for name in ("bridge.safetensors", "trained.safetensors", "dormant/dormant_model.safetensors"):
        data = (folder / name).read_bytes() if (folder / name).exists() else b""
        total += len(data) - 8 - int.from_bytes(data[:8], "little") if data else 0
    return total


QUICK = ("dormant", "full", "lora")


@pytest.mark.parametrize(
    "method", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in method_names()]
)
def test_it_is_what_the_run_trains_and_saves(setup: Path, tmp_path: Path, method: str) -> None:
    train = {"steps": 1, "batch_size": 4, "warmup": 1, "accelerator": "cpu", "measure_tokens": 0}
    options: dict[str, Any] = {"method": method, "train": train, "held_out": {}, "validation": {}}
    plan = plan_recompose(settings(setup, tmp_path / "run", **options))
    assert not (tmp_path / "run").exists()
    run = short_run(setup, tmp_path / "run", **options)
    assert sum(plan.trained.values()) == run.results["trained"]
    assert plan.bridge == sum(p.numel() for p in run.model.sensors.parameters() if p.requires_grad)
    assert bool(plan.layers) == (method == "dormant")
    assert plan.method == method
    if plan.delta is not None:
        assert plan.delta == stored(run.folder)
    weights = sum(p.numel() * p.element_size() for p in run.model.parameters())
    assert plan.memory > weights
    assert plan.step > 0
    assert len(str(plan).splitlines()) <= 25
    assert f"method {method} on cpu" in str(plan)


def test_heavier_methods_need_more_memory(setup: Path, tmp_path: Path) -> None:
    found = {m: plan_recompose(settings(setup, tmp_path, method=m)).memory for m in ("bridge", "full", "lwf")}
    assert found["bridge"] < found["full"] < found["lwf"]


def test_tokens_are_those_of_samples(setup: Path, tmp_path: Path) -> None:
    plan = plan_recompose(settings(setup, tmp_path))
    assert set(plan.tokens) == {"touch", "pairs"}
    assert plan.tokens["touch"] < plan.tokens["pairs"]  # one signal and two


def test_it_says_how_much_is_read_without_gradients(setup: Path, tmp_path: Path) -> None:
    """Of long prompts what stands before the sensor; of short ones nothing, nor where weights act always."""
    words = "a soft object and a hard object with a smooth surface"
    tasks = {"short": TOUCH, "long": {**TOUCH, "prompt": f"{words} {{touch}} {{question}}"}}
    plan = plan_recompose(settings(setup, tmp_path / "run", tasks=tasks))
    assert plan.before["short"] == 0
    assert plan.tokens["long"] - plan.tokens["short"] == len(words.split())
    assert plan.before["long"] == pytest.approx(len(words.split()) + 3, abs=1)  # and how a user's turn begins
    assert f"({plan.before['long']:.0f} before the sensor, read without gradients)" in str(plan)
    always = settings(setup, tmp_path / "run", tasks=tasks, dormant={**DORMANT, "acts": "always"})
    assert set(plan_recompose(always).before.values()) == {0.0}


def test_time_is_that_of_all_steps(setup: Path, tmp_path: Path) -> None:
    train = {**values(setup, tmp_path)["train"], "steps": 1000, "accumulate": 3}
    plan = plan_recompose(settings(setup, tmp_path, train=train))
    assert plan.steps == 1000
    assert plan.seconds == pytest.approx(1000 * plan.step)
    assert plan.record()["seconds"] == plan.seconds


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "ewc", "calibration": {"it": {**IMAGE, "answer": ""}}}, r"needs labels"),
        ({"method": "full", "options": {"rank": 3}}, r"method 'full' has no option 'rank'"),
        ({"dormant": {"score": "splish"}}, r"score='splish'. Did you mean 'splash'"),
        ({"calibration": {}}, r"calibration"),
    ],
)
def test_what_fails_later_fails_here(setup: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    for start in (plan_recompose, lambda config: short_run(setup, tmp_path / "run", **changes)):
        with pytest.raises(PairalignError, match=message):
            start(settings(setup, tmp_path / "run", **changes))


def test_a_measurement_that_cannot_be_made_is_met(setup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pairalign.finetune import dry_run

    asked: list[tuple[str, ...]] = []
    plain = dry_run.answer_logits

    def seen(model: Any, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
        asked.append(batch.kinds)
        return plain(model, batch)

    monkeypatch.setattr(dry_run, "answer_logits", seen)
    plan_recompose(settings(setup, tmp_path))
    assert [kinds[0].partition(".")[0] for kinds in asked] == ["touch", "image"]
