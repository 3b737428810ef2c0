"""Stage two end to end on tiny models: every method, resuming, the gate, and what is refused before it starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from stage_two import DORMANT, IMAGE, PAIRS, TOUCH, killed, short_run, values

from pairalign.core.config import load_config
from pairalign.core.errors import CheckpointError, ConfigError, DataError, DormantError, PairalignError
from pairalign.finetune.assemble import assemble
from pairalign.finetune.callbacks import EvaluationCallback
from pairalign.finetune.collator import Collator
from pairalign.finetune.config import RecomposeConfig, TaskConfig
from pairalign.finetune.measure import answer_logits
from pairalign.finetune.methods import method_names
from pairalign.finetune.run import RecomposeRun, load_recomposed, recompose_mllm
from pairalign.finetune.tasks import Task
from pairalign.finetune.trained import trained

FELT = {**TOUCH, "signals": {"touch": "tuch"}}


def answers(run: RecomposeRun) -> torch.Tensor:
    task = Task("touch", TaskConfig(**{**TOUCH, "split": "val"}), run.config.root, ["touch"])
    batch = Collator(run.processor)(list(task.read())[:6])
    with torch.no_grad():
        return answer_logits(run.model, batch)[0]


@pytest.mark.parametrize("method", method_names())
def test_every_method_trains_and_is_measured(setup: Path, tmp_path: Path, method: str) -> None:
    train = {**values(setup, tmp_path)["train"], "measure_with_signals": True}
    run = short_run(setup, tmp_path / "run", method=method, dormant={**DORMANT, "acts": "always"}, train=train)
    assert run.results["with_signals"]["tasks"]["image"]["n"] == 24
    steps = [line["step"] for line in run.results["history"]]
    assert steps == [0, 3, 6]
    losses = [line["validation/touch/loss"] for line in run.results["history"]]
    assert losses[-1] < losses[0]
    moved = [line["held_out/image/drift"] for line in run.results["history"]]
    assert moved[0] < 1e-6
    assert (moved[-1] > 1e-6) == (method != "bridge")
    assert (run.results["trained"] > 0) == (method != "bridge")
    written = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert {"train/loss", "validation/touch/accuracy"} <= {key for line in written for key in line}


@pytest.mark.parametrize("structure", ["rows", "weights", "directions", "matrices"])
def test_what_has_no_sensor_in_it_is_answered_as_before(setup: Path, tmp_path: Path, structure: str) -> None:
    """By default, whatever was learned: held-out questions have the base's logits, and so the base's every figure."""
    run = short_run(setup, tmp_path / "run", dormant={**DORMANT, "structure": structure})
    first, last = run.results["history"][0], run.results["history"][-1]
    assert last["validation/touch/loss"] < first["validation/touch/loss"]
    assert {key: value for key, value in last.items() if "held_out" in key} == {
        key: value for key, value in first.items() if "held_out" in key
    }
    assert run.config.dormant.acts == "sensor"


def test_a_task_that_nothing_would_be_learned_from_is_refused(setup: Path, tmp_path: Path) -> None:
    plain = {"touch": TOUCH, "words": {**TOUCH, "prompt": "{question}"}}
    with pytest.raises(ConfigError, match=r"task 'words': prompt='\{question\}' holds no sensor"):
        short_run(setup, tmp_path / "run", tasks=plain)
    short_run(setup, tmp_path / "run", tasks=plain, dormant={**DORMANT, "acts": "always"})


@pytest.mark.parametrize("structure", ["rows", "weights", "directions"])
def test_a_finished_run_loads_to_the_same_model(setup: Path, tmp_path: Path, structure: str) -> None:
    dormant = {"score": "wanda", "structure": structure, "density": 0.25}
    run = short_run(setup, tmp_path / "run", dormant=dormant)
    again = load_recomposed(run.folder)
    torch.testing.assert_close(answers(again), answers(run), atol=1e-6, rtol=0)
    assert json.loads((run.folder / "receipt.json").read_text())["clean"]
    assert recompose_mllm(run.config, progress=False).results == run.results  # finished: loaded, not trained


@pytest.mark.parametrize("method", ["full", "lora", "wise_ft", "bridge"])
def test_a_finished_baseline_loads_too(setup: Path, tmp_path: Path, method: str) -> None:
    run = short_run(setup, tmp_path / "run", method=method)
    torch.testing.assert_close(answers(load_recomposed(run.folder)), answers(run), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    setup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accumulate: int
) -> None:
    train = {"steps": 6, "batch_size": 8, "checkpoint_every": 2, "warmup": 1, "accelerator": "cpu"}
    train |= {"batch_size": 2 if accumulate > 1 else 8, "accumulate": accumulate}
    whole = short_run(setup, tmp_path / "whole", train=train)
    with killed(5):
        short_run(setup, tmp_path / "killed", train=train)
    again = short_run(setup, tmp_path / "killed", train=train)
    for (name, expected), (_, found) in zip(
        whole.model.state_dict().items(), again.model.state_dict().items(), strict=True
    ):
        assert torch.equal(expected, found), name


def test_the_same_seed_gives_the_same_figures(setup: Path, tmp_path: Path) -> None:
    one, same, other = (short_run(setup, tmp_path / str(n), seed=seed) for n, seed in enumerate((0, 0, 1)))
    assert one.results["history"] == same.results["history"]
    assert one.results["history"] != other.results["history"]


def test_gradient_checkpointing_changes_nothing(setup: Path, tmp_path: Path) -> None:
    train = values(setup, tmp_path)["train"]
    plain = short_run(setup, tmp_path / "plain")
    saving = short_run(setup, tmp_path / "saving", train={**train, "gradient_checkpointing": True})
    torch.testing.assert_close(answers(saving), answers(plain), atol=1e-5, rtol=1e-5)


def test_the_bridge_may_go_first(setup: Path, tmp_path: Path) -> None:
    train = values(setup, tmp_path)["train"]
    run = short_run(setup, tmp_path / "run", train={**train, "bridge_steps": 6})
    assert run.results["history"][-1]["held_out/image/drift"] < 1e-6


def test_a_loss_that_is_not_finite_stops_and_names_the_samples(setup: Path, tmp_path: Path) -> None:
    train = {**values(setup, tmp_path)["train"], "lr": 1e38, "warmup": 4}
    stopped = r"(the loss became (nan|inf)|weights became infinite or NaN) at step \d+, samples w\d+.*"
    with pytest.raises(DataError, match=stopped + r"last.ckpt holds the last good weights"):
        short_run(setup, tmp_path / "run", train={**train, "checkpoint_every": 1})
    kept = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["state_dict"]
    assert kept
    assert all(value.isfinite().all() for value in kept.values())
    with pytest.raises(DataError, match=stopped + r"checkpoint_every was 0: none is kept"):
        short_run(setup, tmp_path / "other", train=train)


def test_two_sensors_learn_together(setup: Path, tmp_path: Path) -> None:
    sensors = {"touch": {"run": "demo/run", "tokens": 2}, "points": {"run": "demo/run", "tokens": 2}}
    points = {**TOUCH, "shards": "lessons/points", "prompt": "{points} {question}"}
    run = short_run(setup, tmp_path / "run", sensors=sensors, tasks={"touch": TOUCH, "points": points})
    assert list(run.model.llm.dormant) == ["touch+points"]  # type: ignore[union-attr]
    torch.testing.assert_close(answers(load_recomposed(run.folder)), answers(run), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sensors": {}}, r"sensors: is empty"),
        ({"tasks": {}}, r"tasks: is empty"),
        ({"method": "dorment"}, r"method='dorment'. Did you mean 'dormant'"),
        ({"options": {"rank": 3}}, r"method 'dormant' has no option 'rank'"),
        ({"tasks": {"t": {**TOUCH, "prompt": "{tuch}"}}}, r"task 't': .* holds no field 'tuch'. Did you mean 'touch'"),
        ({"tasks": {"t": {**PAIRS, "signals": {"first": "toch"}}}}, r"sensor 'toch'. Did you mean 'touch'"),
        ({"tasks": {"touch": TOUCH, "t": {**PAIRS, "signals": {}}}, "dormant": {**DORMANT, "acts": "always"}}, r""),
        ({"tasks": {"t": {**TOUCH, "answer": " "}}}, r"task 't': answer is empty"),
        ({"tasks": {"t": {**TOUCH, "split": "tran"}}}, r"tran"),
        ({"calibration_size": 1000}, r"has 48 samples, calibration_size=1000"),
        ({"calibration": {}}, r"calibration"),
        ({"dormant": {"density": 0.0}}, r"'dormant.density' is 0.0: give a number from 0 to 1, both excluded"),
        ({"dormant": {"density": 1.0}}, r"'dormant.density' is 1.0"),
        ({"dormant": {"density": 0.001}}, r"density=0.001"),
        ({"sensors": {"touch": {"run": "nowhere"}}}, r"nowhere"),
        (
            {"sensors": {"tuch": {"run": "demo/run"}}, "tasks": {"t": FELT}, "validation": {}},
            r"'tuch' is not aligned. Did you mean 'touch'",
        ),
        ({"base": "/nowhere"}, r"base='/nowhere' cannot be loaded"),
    ],
)
def test_what_cannot_run_is_refused(setup: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    if message == "":
        run = short_run(setup, tmp_path / "run", **changes)  # pictures that no sensor claims are the base's own
        assert run.results["trained"] > 0
        return
    with pytest.raises(PairalignError, match=message):
        short_run(setup, tmp_path / "run", **changes)


def test_a_run_folder_belongs_to_one_configuration(setup: Path, tmp_path: Path) -> None:
    run = short_run(setup, tmp_path / "run", method="moe_lora")
    with pytest.raises(CheckpointError, match=r"belongs to another run, which differs in dormant\.acts, method, seed"):
        short_run(setup, tmp_path / "run", seed=3)
    torch.testing.assert_close(answers(load_recomposed(run.folder)), answers(run), atol=1e-5, rtol=1e-5)
    with pytest.raises(CheckpointError, match=r"is not finished"):
        load_recomposed(tmp_path)


def test_prompts_of_a_batch_are_padded_so_that_answers_end_together(setup: Path, tmp_path: Path) -> None:
    config = load_config(RecomposeConfig, values(setup, tmp_path / "run"))
    model, processor = assemble(config)
    task = Task("pairs", TaskConfig(**PAIRS), setup, ["touch"])
    examples = list(task.read())[:5]
    batch = Collator(processor)(examples)
    assert batch.inputs["signals"]["touch"].shape[0] == 10
    end = processor.tokenizer.eos_token_id
    for n, example in enumerate(examples):
        own = batch.labels[n][batch.labels[n] >= 0].tolist()
        assert own == [*processor.tokenizer(example.answer, add_special_tokens=False)["input_ids"], end]
        assert batch.inputs["input_ids"][n, -len(own) :].tolist() == own
        alone = Collator(processor)([example])
        with torch.no_grad():
            together, single = (answer_logits(model, b)[0][-1 if b is alone else n, -1] for b in (batch, alone))
        torch.testing.assert_close(together, single, atol=1e-5, rtol=1e-5)


def test_an_answer_may_not_be_missing_but_in_calibration(setup: Path, tmp_path: Path) -> None:
    calibration = {"pictures": {**IMAGE, "answer": ""}}
    run = short_run(setup, tmp_path / "run", calibration=calibration)
    assert run.results["trained"] > 0
    with pytest.raises(DormantError, match=r"needs labels"):
        short_run(setup, tmp_path / "other", calibration=calibration, dormant={"score": "fisher"})
    points = {**TOUCH, "shards": "lessons/points", "prompt": "{points} {question}"}
    with pytest.raises(ConfigError, match=r"tasks: task 'points': field 'points' is neither picture nor text"):
        short_run(setup, tmp_path / "third", tasks={"touch": TOUCH, "points": points})


def test_recomposition_answers_without_any_training(setup: Path, tmp_path: Path) -> None:
    sensors = {"touch": {"run": "demo/run", "bridge": "recomposition", "images": "demo/pairs/image-touch"}}
    changes = {"sensors": sensors, "method": "bridge", "train": {"steps": 0}}
    run = short_run(setup, tmp_path / "run", **changes)
    assert [line["step"] for line in run.results["history"]] == [0]
    assert run.model.sensors["touch"].length == 36
    again = load_recomposed(run.folder)
    torch.testing.assert_close(answers(again), answers(run), atol=1e-5, rtol=0)
    with pytest.raises(ConfigError, match=r"sensors.touch.images: is missing"):
        short_run(setup, tmp_path / "other", **{**changes, "sensors": {"touch": {**sensors["touch"], "images": None}}})


def test_signals_kept_in_memory_train_as_streamed_ones_do(setup: Path, tmp_path: Path) -> None:
    train = values(setup, tmp_path)["train"]
    kept = short_run(setup, tmp_path / "kept")
    streamed = short_run(setup, tmp_path / "streamed", train={**train, "memory": 0})
    for name, value in trained(kept.model).items():
        torch.testing.assert_close(value, trained(streamed.model)[name], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(answers(kept), answers(streamed), atol=1e-4, rtol=1e-4)


def test_the_probe_leaves_the_end_of_answers_out(setup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[EvaluationCallback] = []
    start = EvaluationCallback.start
    monkeypatch.setattr(EvaluationCallback, "start", lambda self: (found.append(self), start(self))[1])
    run = short_run(setup, tmp_path / "run", train={**values(setup, tmp_path)["train"], "steps": 0})
    tokenizer = run.processor.tokenizer
    task = Task("touch", TaskConfig(**{**TOUCH, "split": "val"}), setup, ["touch"])
    said = {t for e in task.read() for t in tokenizer(e.answer, add_special_tokens=False)["input_ids"]}
    assert found[0].vocabulary == sorted(said)
    assert tokenizer.eos_token_id not in said


class NormedPatches(torch.nn.Conv2d):
    """Patches with batch norm behind them, as towers of the convolutional kind have it."""

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.norm(super().forward(pictures))
        return found


@pytest.mark.parametrize("method", ["dormant", "full", pytest.param("lora", marks=pytest.mark.slow)])
def test_a_frozen_tower_keeps_its_statistics(
    setup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    from pairalign.finetune import assemble as assembling

    load = assembling.load_base

    def normed(*args: Any, **options: Any) -> Any:
        base, processor = load(*args, **options)
        patches = next(m for m in base.modules() if isinstance(m, torch.nn.Conv2d))
        patches.__class__ = NormedPatches
        patches.norm = torch.nn.BatchNorm2d(patches.out_channels, momentum=0.5).eval()
        return base, processor

    monkeypatch.setattr(assembling, "load_base", normed)
    both = {"tasks": {"touch": TOUCH, "image": IMAGE}, "dormant": {**DORMANT, "acts": "always"}}
    run = short_run(setup, tmp_path / "run", method=method, **both)
    (norm,) = (m for m in run.model.llm.modules() if isinstance(m, torch.nn.BatchNorm2d))
    assert norm.running_mean is not None
    assert norm.running_mean.eq(0).all()
    assert int(norm.num_batches_tracked or 0) == 0
    assert run.results["trained"] > 0
    if method == "dormant":
        assert json.loads((run.folder / "receipt.json").read_text())["clean"]
