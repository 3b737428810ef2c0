"""The gate: which weights a run keeps, whatever was measured when, also after a kill; and what it then says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from stage_two import IMAGE, TOUCH, short_run, values

from pairalign.cli.main import main
from pairalign.cli.recompose import conclusion
from pairalign.core.errors import ConfigError
from pairalign.evaluate.intervals import wilson
from pairalign.finetune.callbacks import EvaluationCallback
from pairalign.finetune.collator import Collator
from pairalign.finetune.config import ForgettingConfig, TaskConfig
from pairalign.finetune.gate import Gate, Measured, forgotten
from pairalign.finetune.measure import TaskScore, measure_task
from pairalign.finetune.module import StageTwo
from pairalign.finetune.questions import Questions
from pairalign.finetune.run import load_recomposed
from pairalign.finetune.tasks import Task
from pairalign.finetune.trained import trained


def score(accuracy: float, loss: float = 1.0) -> TaskScore:
    return TaskScore({"it": wilson(100 * accuracy, 100)}, accuracy, loss)


def found(learned: float | None, held: float, loss: float = 1.0) -> Measured:
    validation = {} if learned is None else {"validation": {"touch": score(learned, loss)}}
    return {**validation, "held_out": {"image": score(held)}}


class Script:
    """What is measured at each step, instead of the model, and the weights that would be kept then."""

    def __init__(self, measured: Mapping[int, Measured]) -> None:
        self.measured, self.weights = measured, dict[int, dict[str, torch.Tensor]]()
        self.step = 0

    def install(self, patch: pytest.MonkeyPatch) -> Script:
        script = self
        trains = StageTwo.on_train_batch_start

        def starts(module: StageTwo, batch: Any, batch_idx: int) -> None:
            script.step = module.global_step + 1
            trains(module, batch, batch_idx)

        def measures(callback: EvaluationCallback) -> Measured:
            with callback.method.settled(callback.model.llm):
                script.weights[script.step] = trained(callback.model)
            return script.measured[script.step]

        patch.setattr(StageTwo, "on_train_batch_start", starts)
        patch.setattr(EvaluationCallback, "measure", measures)
        patch.setattr(EvaluationCallback, "measure_base", measures)
        return self


BASE = found(0.1, 0.9)
CASES: dict[str, tuple[dict[int, Measured], int, str | None]] = {
    "final within the bound": ({2: found(0.9, 0.9), 4: found(0.5, 0.9), 6: found(0.4, 0.89)}, 6, None),
    "final beyond it": ({2: found(0.3, 0.9), 4: found(0.5, 0.9), 6: found(0.9, 0.2)}, 4, "at the end, step 6"),
    "stopped": ({2: found(0.3, 0.9), 4: found(0.9, 0.2)}, 2, "stopped at step 4: held-out abilities lost 70 points"),
    "the best, not the latest": ({2: found(0.6, 0.9), 4: found(0.5, 0.9), 6: found(0.9, 0.2)}, 2, "at the end"),
    "a tie goes to less forgotten": ({2: found(0.5, 0.9), 4: found(0.5, 0.88), 6: found(0.9, 0.2)}, 2, "at the end"),
    "then to the smaller loss": (
        {2: found(0.5, 0.9, 0.9), 4: found(0.5, 0.9, 0.8), 6: found(0.9, 0.2)}, 4, "at the end"
    ),
    "nothing within it": ({2: found(0.3, 0.2)}, 0, "the weights of step 0 are kept"),
    "within it nothing learned": ({2: found(0.1, 0.9), 4: found(0.05, 0.9), 6: found(0.1, 0.9)}, 0, "no better than"),
    "without validation the latest": (
        {0: found(None, 0.9), 2: found(None, 0.9), 4: found(None, 0.88), 6: found(None, 0.1)}, 4, "at the end"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_best_within_the_bound_is_kept(
    setup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    measured, step, why = CASES[case]
    script = Script({0: BASE, **measured}).install(monkeypatch)
    train = {**values(setup, tmp_path)["train"], "steps": 6, "validate_every": 2, "measure_tokens": 0}
    run = short_run(setup, tmp_path / "run", train=train, max_forgetting=5.0)
    kept = trained(run.model)
    assert all(torch.equal(value, script.weights[step][name]) for name, value in kept.items())
    assert all(step == at or not same(kept, weights) for at, weights in script.weights.items())
    assert run.results["kept"] == {"step": step, "learned": step > 0}
    assert (run.results["stopped"] is None) == (why is None)
    assert (why or "") in (run.results["stopped"] or "")
    assert (
        run.results["after"]["held_out"]["image"]["accuracy"]
        == {0: BASE, **measured}[step]["held_out"]["image"].accuracy
    )
    monkeypatch.undo()
    again = trained(load_recomposed(run.folder).model.sensors)  # what is in the folder
    assert all(torch.equal(value, kept[f"senses.{name}"]) for name, value in again.items())


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Ends the process's training at a step, as a kill does: nothing is written then."""
    step = StageTwo.training_step

    def kill(at: int) -> None:
        def dies(self: StageTwo, batch: Any, batch_idx: int) -> torch.Tensor:
            if self.global_step == at:
                raise RuntimeError("killed")
            return step(self, batch, batch_idx)

        monkeypatch.setattr(StageTwo, "training_step", dies)

    return kill


@pytest.mark.parametrize("method", ["dormant", "spider"])
def test_a_killed_run_keeps_the_best_that_it_saw_before(
    setup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: Any, method: str
) -> None:
    measured = {0: BASE, 2: found(0.5, 0.9), 4: found(0.4, 0.9), 6: found(0.3, 0.9), 8: found(0.9, 0.1)}
    train = {**values(setup, tmp_path)["train"], "steps": 8, "validate_every": 2, "checkpoint_every": 3}
    options: dict[str, Any] = {"train": {**train, "measure_tokens": 0}, "max_forgetting": 5.0, "method": method}
    first, again = Script(measured), Script(measured)
    first.install(monkeypatch)
    whole = short_run(setup, tmp_path / "whole", **options)
    monkeypatch.undo()
    Script(measured).install(monkeypatch)
    cut(5)
    with pytest.raises(RuntimeError, match="killed"):
        short_run(setup, tmp_path / "cut", **options)
    monkeypatch.undo()
    again.install(monkeypatch)
    resumed = short_run(setup, tmp_path / "cut", **options)
    assert resumed.results == whole.results
    assert resumed.results["kept"]["step"] == 2
    assert list(again.weights) == [4, 6, 8]
    assert all(same(weights, first.weights[step]) for step, weights in again.weights.items())
    kept = dict(resumed.model.named_parameters())
    assert all(torch.equal(value, kept[name]) for name, value in first.weights[2].items())
    for file in ("bridge.safetensors", "results.json"):
        assert (resumed.folder / file).read_bytes() == (whole.folder / file).read_bytes(), file


def test_the_base_is_measured_once(setup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: Any) -> None:
    train = {**values(setup, tmp_path)["train"], "steps": 4, "checkpoint_every": 2, "validate_every": 0}
    whole = short_run(setup, tmp_path / "whole", train=train)
    cut(3)
    with pytest.raises(RuntimeError, match="killed"):
        short_run(setup, tmp_path / "cut", train=train)
    monkeypatch.undo()
    steps: list[int] = []
    measure = EvaluationCallback.measure
    monkeypatch.setattr(EvaluationCallback, "measure", lambda self: (steps.append(len(self.history)), measure(self))[1])
    again = short_run(setup, tmp_path / "cut", train=train)
    assert steps == [1]  # the final weights alone
    assert again.results == whole.results


@pytest.fixture(scope="module")
def ruin(setup: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rate that ruins the shipped base, which knows pictures, and no measurement before the end."""
    from pairalign.demo.base import base_folder

    folder = tmp_path_factory.mktemp("ruin")
    train = {"steps": 12, "batch_size": 8, "validate_every": 0, "warmup": 1, "accelerator": "cpu", "lr": 0.03}
    train["measure_with_signals"] = True
    told = values(setup, folder / "run", base=str(base_folder()), dtype="float32", method="full", train=train)
    (folder / "ruin.yaml").write_text(yaml.safe_dump(told))
    return folder


def test_weights_that_forgot_at_the_last_step_are_not_kept(ruin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recompose", str(ruin / "ruin.yaml"), "--quiet", "--max-forgetting", "5"]) == 4
    printed = capsys.readouterr().out.splitlines()
    results = json.loads((ruin / "run" / "results.json").read_text())
    held = [line["held_out/image/accuracy"] for line in results["history"]]
    assert held[0] >= 0.9 > 0.5 > held[1]
    assert results["after"]["held_out"]["image"]["accuracy"] == held[0]
    assert results["forgetting"]["points"] == 0
    assert printed[-5].startswith("at the end, step 12, held-out abilities lost ")
    assert printed[-4] == "kept        the weights of step 0: nothing was learned"
    assert printed[-3].startswith("learning       +0.0 points  (n 24, ")
    assert printed[-2].startswith("forgetting     +0.0 points  (n 24, worst image +0.0)")
    assert printed[-1].startswith("  with a signal in front ")


def ruinous(**changes: Any) -> dict[str, Any]:
    """Rows of the shipped base that act from the sensor on, trained at a rate that ruins what follows a signal."""
    from pairalign.demo.base import base_folder

    train = {"steps": 8, "batch_size": 8, "validate_every": 4, "warmup": 1, "accelerator": "cpu", "lr": 0.1}
    train |= {"measure_tokens": 0, "measure_with_signals": True, **changes.pop("train", {})}
    dormant = {"score": "random", "structure": "rows", "density": 0.5}
    return {
        "base": str(base_folder()),
        "dtype": "float32",
        "dormant": dormant,
        "calibration": {},
        "train": train,
        **changes,
    }


def test_what_is_lost_with_a_signal_in_the_prompt_stops_a_run(setup: Path, tmp_path: Path) -> None:
    """Where without one nothing can be lost, and without validation nothing else speaks against the last weights."""
    run = short_run(setup, tmp_path / "run", **ruinous(max_forgetting=5.0))
    history = run.results["history"]
    assert history[0]["held_out/image/accuracy"] == history[-1]["held_out/image/accuracy"]
    assert [line["step"] for line in history] == [0, 4]
    assert "stopped at step 4: held-out abilities with a signal in front lost " in run.results["stopped"]
    assert run.results["kept"] == {"step": 0, "learned": False}
    assert [(one["lost"], one["bound"]) for one in run.results["gate"]] == [(0, 5), (0, 5), (0, 5)]
    assert conclusion(run.results)[0].startswith("held to     max_forgetting: lost +0.0 of 5 without a signal, ")
    asked = run.results["with_signals"]["tasks"]["image"]  # of the weights that came back
    assert asked["before"]["loss"] == pytest.approx(asked["updates_off"]["before"]["loss"], rel=1e-5)


def put_in(without: float, before: float, behind: float) -> Measured:
    held = {"held_out_before": before, "held_out_behind": behind}
    return {**found(0.5, without), **{part: {"image": score(accuracy)} for part, accuracy in held.items()}}


@pytest.mark.parametrize(
    ("asked", "now", "said"),
    [
        (5.0, (0.9, 0.8, 0.7), None),
        (5.0, (0.84, 0.8, 0.7), "held-out abilities lost 6 points, more than max_forgetting=5"),
        (5.0, (0.9, 0.74, 0.7), "held-out abilities with a signal in front lost 6 points, more than max_forgetting=5"),
        (5.0, (0.9, 0.8, 0.6), "held-out abilities with a signal behind lost 10 points, more than max_forgetting=5"),
        (ForgettingConfig(1.0, 10.0), (0.9, 0.7, 0.6), None),
        (ForgettingConfig(1.0, 10.0), (0.88, 0.8, 0.7), "lost 2 points, more than max_forgetting=1"),
        (ForgettingConfig(1.0, None), (0.9, 0.0, 0.0), None),
        (ForgettingConfig(None, 9.0), (0.0, 0.8, 0.6), "a signal behind lost 10 points, more than max_forgetting=9"),
    ],
)
def test_each_kind_of_prompt_has_its_bound(asked: Any, now: tuple[float, float, float], said: str | None) -> None:
    base = put_in(0.9, 0.8, 0.7) | {"validation": BASE["validation"]}
    gate, lost = Gate.of(asked), forgotten(base, put_in(*now))
    assert (gate.beyond(lost) is None) == (said is None)
    assert (said or "") in (gate.beyond(lost) or "")
    assert (gate.rank(base, put_in(*now), 3) is None) == (said is not None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"max_forgetting": {"with_signal": 3}, "train": {"measure_with_signals": False}}, "leave one of the two out"),
        ({"max_forgetting": {"without_signal": 3}}, "bounds nothing here"),
        ({"max_forgetting": {"without_signal": 3}, "method": "bridge"}, "bounds nothing here"),
        ({"max_forgetting": {}}, "without_signal and with_signal are null"),
        (
            {"max_forgetting": {"with_signl": 3}},
            "^config key 'max_forgetting.with_signl' is unknown.",
        ),
        ({"max_forgetting": {"with_signal": -3}}, "give a number of at least 0"),
    ],
)
def test_a_bound_that_bounds_nothing_is_refused_before_long_work(
    setup: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    told = ruinous(base=str(tmp_path / "nowhere"), **changes)
    with pytest.raises(ConfigError, match=said):
        short_run(setup, tmp_path / "run", **told)
    assert not (tmp_path / "run").exists()


def test_a_run_without_measured_tasks_says_so(setup: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = values(setup, tmp_path / "run", validation={}, held_out={}, method="bridge")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(told))
    assert main(["recompose", str(tmp_path / "run.yaml"), "--quiet"]) == 0
    assert "forgetting  not measured: the configuration has no held_out tasks" in capsys.readouterr().out
    assert main(["recompose", str(tmp_path / "run.yaml"), "--quiet", "--max-forgetting", "1"]) == 2
    assert "max_forgetting: needs held_out tasks" in capsys.readouterr().err


def test_the_rank_of_what_is_beyond_the_bound_is_none() -> None:
    gate = Gate(1.0)
    assert gate.rank(BASE, found(0.9, 0.88), 3) is None
    assert gate.rank(BASE, found(0.1, 0.9, loss=0.5), 3) is not None  # a smaller loss is learning, too
    assert Gate(None).rank(BASE, found(0.9, 0.0), 3) is not None


@pytest.mark.parametrize("method", ["full", "wise_ft"])
def test_results_are_of_the_weights_in_the_folder(setup: Path, tmp_path: Path, method: str) -> None:
    """A real run that goes back to an earlier step, loaded and measured again."""
    from pairalign.demo.base import base_folder

    train = {"steps": 40, "warmup": 30, "batch_size": 8, "validate_every": 2, "lr": 1e-2 if method == "full" else 3e-2}
    told: dict[str, Any] = {"base": str(base_folder()), "dtype": "float32", "method": method, "max_forgetting": 15.0}
    run = short_run(setup, tmp_path / "run", train={**train, "accelerator": "cpu", "measure_tokens": 0}, **told)
    steps = [line["step"] for line in run.results["history"]]
    assert 0 < run.results["kept"]["step"] < steps[-1]
    again = load_recomposed(run.folder)
    for part, name, task in (("validation", "touch", TOUCH), ("held_out", "image", IMAGE)):
        asked = Task(name, TaskConfig(**{**task, "split": "val"}), setup, ["touch"])
        score = measure_task(again.model, Questions(asked, Collator(again.processor)))
        after = run.results["after"][part][name]
        assert score.accuracy == after["accuracy"]
        assert score.loss == pytest.approx(after["loss"], rel=1e-5)
    assert run.results["forgetting"]["points"] <= 15


def test_exactly_as_many_points_as_the_bound_are_within_it() -> None:
    base, now = found(0.1, 1.0), found(0.5, 0.85)
    lost = forgotten(base, now)
    assert lost["held_out"] > 15.0  # as floats have it
    assert not Gate(15.0).beyond(lost)
    assert Gate(15.0).rank(base, now, 8) is not None
    assert Gate(14.99).beyond(lost)
    assert not Gate(None).beyond(lost)
