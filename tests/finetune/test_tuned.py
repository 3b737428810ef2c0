"""A sensor that trains in stage two: it goes with its run, its checkpoints and its pack, and touches nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from sensing import make_sensor
from stage_two import TOUCH, killed, settings, short_run
from tiny_mllms import FAMILIES
from torch import Tensor

import pairalign as pa
from pairalign.align.modality import load_modality
from pairalign.core.errors import ConfigError
from pairalign.export.manifest import SENSORS as STORED
from pairalign.export.sensor_pack import export_pack
from pairalign.finetune.config import SensorConfig, TuneConfig
from pairalign.finetune.methods import create_method
from pairalign.finetune.module import StageTwo
from pairalign.finetune.run import RecomposeRun, load_recomposed, plan_recompose
from pairalign.finetune.tasks import Task
from pairalign.sensors.processor import load_base
from pairalign.sensors.sensor import count_tokens

TRAIN = {"epochs": 0.5, "batch_size": 8, "warmup": 0, "accelerator": "cpu", "lr": 1e-3, "measure_tokens": 0}
TRAIN |= {"checkpoint_every": 2, "measure_with_signals": False}
SENSORS = {"run": "demo/run", "tokens": "all", "tune": "all", "lr": 3e-4}
HOW: dict[str, Any] = {"tasks": {"touch": TOUCH}, "validation": {}, "sensors": {"touch": SENSORS}, "train": TRAIN}


@pytest.fixture(scope="module")
def run(setup: Path, tmp_path_factory: pytest.TempPathFactory) -> RecomposeRun:
    return short_run(setup, tmp_path_factory.mktemp("tuned") / "run", **HOW)


def weights(run: RecomposeRun) -> dict[str, Tensor]:
    return {name: t.clone() for name, t in run.model.sensors.state_dict().items()}


def test_the_encoder_trains_and_the_run_holds_what_it_became(setup: Path, run: RecomposeRun) -> None:
    first = load_modality(setup / "demo" / "run", "touch").encoder.state_dict()
    moved = {n for n, t in first.items() if not t.equal(weights(run)[f"touch.encoder.{n}"])}
    assert moved == {n for n, p in load_modality(setup / "demo" / "run", "touch").encoder.named_parameters()}
    again = load_recomposed(run.folder)
    assert all(t.equal(weights(run)[n]) for n, t in again.model.sensors.state_dict().items())
    tuned = json.loads((run.folder / "results.json").read_text())["tuned"]["touch"]
    assert tuned["weights"] == sum(p.numel() for p in run.model.sensors["touch"].encoder.parameters())
    assert tuned == again.results["tuned"]["touch"]


def test_epochs_are_told_as_steps_and_all_tokens_as_a_number(run: RecomposeRun) -> None:
    written = yaml.safe_load((run.folder / "config.yaml").read_text())
    assert (written["train"]["steps"], written["train"]["epochs"]) == (3, None)  # half of 48 samples by 8
    made: Any = run.model.sensors["touch"]
    tokens = made.perceive(torch.zeros(1, *made.encoder.signal.shape)).tokens.shape[1]
    assert (made.recipe.tokens, made.length) == (tokens, tokens + 2)
    with pytest.raises(ConfigError, match=r"epochs is 2 and steps 30: give one of the two"):
        TuneConfig(epochs=2, steps=30)


def test_a_killed_run_goes_on_with_the_encoder_to_the_bit(setup: Path, run: RecomposeRun, tmp_path: Path) -> None:
    with killed(at=2):
        short_run(setup, tmp_path / "cut", **HOW)
    gone = short_run(setup, tmp_path / "cut", **HOW)
    assert all(t.equal(weights(run)[n]) for n, t in gone.model.sensors.state_dict().items())


def test_a_prompt_without_the_sensor_is_the_bases_to_the_bit(setup: Path, run: RecomposeRun) -> None:
    base, processor = load_base(str(setup / "base"), "float32")
    asked = processor.tokenizer("what is it ?", return_tensors="pt")
    with torch.no_grad():
        assert run.model(**asked).logits.equal(base(**asked).logits)


def test_a_pack_holds_the_tuned_encoder(setup: Path, run: RecomposeRun, tmp_path: Path) -> None:
    export_pack(run.folder, tmp_path / "pack")
    stored = load_file(tmp_path / "pack" / STORED)
    assert all(t.equal(weights(run)[n]) for n, t in stored.items())
    told = json.loads((tmp_path / "pack" / "manifest.json").read_text())
    assert told["provenance"]["tuned"] == run.results["tuned"]


def test_a_signal_is_kept_as_it_was_recorded_where_the_encoder_trains(setup: Path, run: RecomposeRun) -> None:
    task = Task("touch", settings(setup, run.folder, **HOW).tasks["touch"], setup, ["touch"])
    task.check_signals(run.processor.sensors)
    task.keep(run.processor, 1.0)
    (signal,) = (part["touch"] for part in task.kept[0].parts if part["type"] == "touch")  # type: ignore
    assert not hasattr(signal, "shared")


@pytest.mark.parametrize(("tune", "lr"), [("last", None), ("all", 0.25)])
def test_what_trains_has_a_rate_of_its_own(setup: Path, run: RecomposeRun, tune: Any, lr: float | None) -> None:
    config = settings(setup, run.folder, **{**HOW, "sensors": {"touch": {**SENSORS, "tune": tune, "lr": lr}}})
    base = FAMILIES["llava"].model()
    model = pa.SensorModel(base.requires_grad_(False))
    made = make_sensor(base)
    model.add("touch", type(made)(made.encoder, made.head, made.bridge, None, tune), 103)
    optimizer = StageTwo(model, create_method("bridge", {}), config).configure_optimizers()["optimizer"]
    bridge, encoder = optimizer.param_groups
    assert encoder["initial_lr"] == (config.train.lr if lr is None else lr)
    last = list(made.encoder.blocks()[-1].parameters())
    whole = list(made.encoder.parameters())
    assert [*map(id, encoder["params"])] == [*map(id, last if tune == "last" else whole)]
    assert len(bridge["params"]) == len(list(made.bridge.parameters()))
    assert not model.train().sensors["touch"].encoder.training


def test_a_plan_counts_the_encoder(setup: Path, run: RecomposeRun, tmp_path: Path) -> None:
    plan = plan_recompose(settings(setup, tmp_path, **HOW))
    assert plan.sensors == sum(p.numel() for p in run.model.sensors["touch"].encoder.parameters())
    assert f"{plan.sensors:,} of the sensor" in str(plan)
    assert plan.steps == 3


def test_what_cannot_train_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing of the encoder trains: set tune to last or all"):
        SensorConfig("run", lr=1e-3)
    with pytest.raises(ConfigError, match="a recomposition is fitted to the sensor as it is"):
        SensorConfig("run", bridge="recomposition", tune="all")
    free = pa.create_encoder("series", channels=2)
    free.signal = replace(free.signal, shape=(None, 2))
    with pytest.raises(ConfigError, match=r"tokens='all': encoder Series reads signals of any size"):
        count_tokens(free)


def test_a_run_that_goes_on_from_one_keeps_its_encoder(setup: Path, run: RecomposeRun, tmp_path: Path) -> None:
    train = {**TRAIN, "epochs": None, "steps": 1}
    sensors = {"touch": {"run": "demo/run", "tokens": "all"}}
    how: dict[str, Any] = {**HOW, "sensors": sensors, "train": train, "start": {"run": str(run.folder)}}
    short_run(setup, tmp_path / "next", **how)
    again = load_recomposed(tmp_path / "next").model.sensors.state_dict()
    assert all(t.equal(again[n]) for n, t in weights(run).items() if ".encoder." in n)
    assert not all(t.equal(again[n]) for n, t in weights(run).items())
