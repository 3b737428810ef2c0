"""Names that users have of earlier versions still do what those of today do, and say what they are called now."""

from __future__ import annotations

import copy
import inspect
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import yaml
from jsonschema import ValidationError, validate
from lightning.pytorch.trainer.call import _call_callbacks_load_state_dict
from sensing import speaking
from stage_two import killed, short_run

import pairalign as pa
from pairalign.align import dataset, run
from pairalign.core.config import load_config
from pairalign.core.errors import ConfigError
from pairalign.core.schema import schema_of
from pairalign.data import convert
from pairalign.data.convert import dataset_format
from pairalign.finetune import callbacks, config, sampling
from pairalign.finetune.sequence.config import SequenceConfig
from pairalign.finetune.sequence.stages import stages_of
from pairalign.sensors import sensor
from pairalign.sensors.bridges import bridge


def test_a_data_set_is_registered_by_the_earlier_decorator(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.warns(FutureWarning, match="known_layouts is called known_formats now"):
        known = convert.known_layouts()
    assert known == convert.known_formats()
    monkeypatch.setattr(dataset_format, "_FORMATS", copy.copy(dataset_format._FORMATS))
    with pytest.warns(FutureWarning, match="register_layout is called register_format now"):
        convert.register_layout("mine", title="", source="", licence="", marks=())(lambda folder, skip: iter(()))
    with pytest.warns(FutureWarning, match="find_layout is called find_format now"):
        assert isinstance(convert.find_layout("mine"), convert.Layout)


def test_the_datasets_of_both_stages_under_their_earlier_names() -> None:
    assert (dataset.PairFeed, dataset.FeedSource) == (dataset.PairDataset, dataset.DatasetSource)
    assert sampling.TaskFeed is sampling.TaskDataset
    assert inspect.unwrap(run.build_feeds) is run.build_datasets


def test_a_checkpoint_of_an_earlier_version_finds_its_callback() -> None:
    callback = object.__new__(callbacks.EvaluationCallback)
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=[callback])
    told = {"history": [[3, {}]], "base": {}, "best": None, "verdict": "stopped at step 3"}
    _call_callbacks_load_state_dict(trainer, {"callbacks": {"Watch": told}})
    assert callback.verdict == "stopped at step 3"
    assert callbacks.Watch is callbacks.EvaluationCallback


def test_split_sets_under_their_earlier_name() -> None:
    told: Any = {
        "name": "mine",
        "title": "",
        "source": "",
        "licence": "",
        "marks": (),
        "read": lambda folder, skip: iter(()),
    }
    with pytest.warns(FutureWarning, match="division= is called split_set= now"):
        known = convert.DatasetFormat(**told, division="by_box")
    assert known == convert.DatasetFormat(**told, split_set="by_box")
    assert known.division == replace(known, title="a").split_set == "by_box"
    with pytest.raises(TypeError, match="division= is the earlier name of split_set="), pytest.warns(FutureWarning):
        convert.DatasetFormat(**told, division="by_box", split_set="by_box")


TOUCH = {"touch": {"run": "space", "tokens": 2}}
TOLD: dict[str, Any] = {"base": "base", "tasks": {}, "out": "out"}


def test_a_configuration_may_say_senses(tmp_path: Path) -> None:
    now = load_config(pa.RecomposeConfig, {**TOLD, "sensors": TOUCH})
    assert load_config(pa.RecomposeConfig, {**TOLD, "senses": TOUCH}) == now
    with pytest.warns(FutureWarning, match="senses= is called sensors= now"):
        assert pa.RecomposeConfig(**TOLD, senses=now.sensors) == now
    assert now.senses is now.sensors
    (tmp_path / "teach.yaml").write_text(yaml.safe_dump({**TOLD, "senses": {"touch": {"run": "space"}}}))
    with pytest.warns(FutureWarning, match="config key 'senses' is called 'sensors' now"):
        assert load_config(pa.RecomposeConfig, tmp_path / "teach.yaml", ["senses.touch.tokens=2"]) == now
    with pytest.raises(ConfigError, match="'senses' is the earlier name of 'sensors', and both are there"):
        load_config(pa.RecomposeConfig, {**TOLD, "senses": TOUCH, "sensors": TOUCH})
    with pytest.raises(ConfigError, match=r"of stage two \(base, senses\)"):
        load_config(pa.AlignConfig, {**TOLD, "senses": TOUCH})


def test_a_sequence_may_say_senses() -> None:
    stage = {"name": "one", "validation": {"felt": {"shards": "s", "prompt": "{touch}", "answer": "a"}}}
    defaults = {"base": "base", "senses": TOUCH, "tasks": {}}
    told = SequenceConfig((stage,), "out", defaults, {"other": {"sensors": {"touch": {"tokens": 3}}}})
    assert [one.config.sensors["touch"].tokens for one in stages_of(told)] == [3]
    with pytest.raises(ConfigError, match="senses is the same in all stages"):
        stages_of(replace(told, stages=({**stage, "senses": TOUCH},)))


def test_an_editor_takes_senses_or_sensors_and_not_both_or_none() -> None:
    schema = schema_of(pa.RecomposeConfig)
    for name in ("senses", "sensors"):
        validate({**TOLD, name: TOUCH}, schema)
    for wrong in (TOLD, {**TOLD, "senses": TOUCH, "sensors": TOUCH}, {**TOLD, "senses": 5}):
        with pytest.raises(ValidationError):
            validate(wrong, schema)


def write_as_before(folder: Path) -> None:
    """Give a run the names that its files had in versions which said `senses`."""
    told = json.loads((folder / "identity.json").read_text())
    told["config"]["senses"] = told["config"].pop("sensors")
    (folder / "identity.json").write_text(json.dumps(told))
    text = (folder / "config.yaml").read_text()
    assert text.count("\nsensors:\n") == 1
    (folder / "config.yaml").write_text(text.replace("\nsensors:\n", "\nsenses:\n"))
    kept = torch.load(folder / "last.ckpt", weights_only=True)
    kept["pairalign"]["config"]["senses"] = kept["pairalign"]["config"].pop("sensors")
    assert any(name.startswith("model.senses.touch.bridge.") for name in kept["state_dict"])
    assert not any(".sensors." in name for name in kept["state_dict"])
    torch.save(kept, folder / "last.ckpt")


def test_a_run_that_was_written_with_senses_goes_on_and_is_the_same_run(setup: Path, tmp_path: Path) -> None:
    train = {"steps": 2, "batch_size": 4, "validate_every": 0, "warmup": 0, "accelerator": "cpu", "checkpoint_every": 1}
    how: dict[str, Any] = {"train": {**train, "measure_tokens": 0}, "method": "bridge", "held_out": {}}
    whole = short_run(setup, tmp_path / "whole", **how)
    with killed(at=1):
        short_run(setup, tmp_path / "run", **how)
    write_as_before(tmp_path / "run")
    begun = json.loads((tmp_path / "run" / "identity.json").read_text())["begun"]
    gone_on = short_run(setup, tmp_path / "run", **how)
    told = json.loads((gone_on.folder / "identity.json").read_text())
    assert (told["begun"], "senses" in told["config"], "sensors" in told["config"]) == (begun, False, True)
    weights = [(one.folder / "bridge.safetensors").read_bytes() for one in (whole, gone_on)]
    assert weights[0] == weights[1]
    write_as_before(gone_on.folder)
    assert short_run(setup, gone_on.folder, **how).finished is not None
    again = pa.load_recomposed(gone_on.folder)
    state = gone_on.model.sensors.state_dict()
    assert all(value.equal(state[name]) for name, value in again.model.senses.state_dict().items())
    assert again.processor.senses is again.processor.sensors


def test_what_makes_a_sensor_under_its_earlier_names() -> None:
    assert (sensor.Sense, sensor.SenseRecipe) == (sensor.Sensor, sensor.SensorRecipe)
    assert (bridge.Sensed, config.SenseConfig) == (bridge.SensorFeatures, config.SensorConfig)
    assert inspect.unwrap(sensor.build_sense) is sensor.build_sensor
    model, processor = speaking()
    made, token = model.senses["touch"], model.placeholders["touch"]
    model.remove("touch")
    with pytest.warns(FutureWarning, match="sense= is called sensor= now"):
        model.add("touch", sense=made, placeholder=token)
    assert model.sensors["touch"] is made is processor.senses["touch"]
