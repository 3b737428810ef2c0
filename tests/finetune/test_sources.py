"""A task over several data sets: one task for each, with its places in a batch, its figures and its sensor."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from stage_two import TOUCH, values

from pairalign.core.config import load_config
from pairalign.core.errors import ConfigError
from pairalign.core.registry import create_encoder
from pairalign.finetune.check import check_tasks
from pairalign.finetune.config import RecomposeConfig, TaskConfig
from pairalign.finetune.identity import recompose_identity
from pairalign.finetune.sources import task_sources
from pairalign.finetune.tasks import Task
from pairalign_touch.gel import sensor_codes

BOTH = ["lessons/touch", {"path": "lessons/touch", "split": "val", "name": "held"}]


def config(setup: Path, tmp_path: Path, shards: Any, **task: Any) -> RecomposeConfig:
    told = values(setup, tmp_path / "out")
    told["tasks"] = {"touch": {**TOUCH, "shards": shards, **task}}
    return load_config(RecomposeConfig, told)


def test_each_source_is_a_task_with_its_share(setup: Path, tmp_path: Path) -> None:
    """48 and 24 samples."""
    found = check_tasks(config(setup, tmp_path, BOTH, weight=3.0))["tasks"]
    assert [(task.name, len(task), task.config.weight) for task in found] == [
        ("touch/touch", 48, pytest.approx(2.0)),
        ("touch/held", 24, pytest.approx(1.0)),
    ]
    weighted = [{"path": "lessons/touch", "weight": 1}, {"path": "lessons/touch", "split": "val", "weight": 3}]
    found = check_tasks(config(setup, tmp_path, weighted))["tasks"]
    assert [task.config.weight for task in found] == [pytest.approx(0.25), pytest.approx(0.75)]
    assert len({task.name for task in found}) == 2


def test_what_a_run_is_covers_weights_and_sensors(setup: Path, tmp_path: Path) -> None:
    def told(shards: Any) -> Any:
        return recompose_identity(config(setup, tmp_path, shards)).made_from["shards of tasks.touch"]

    other = [BOTH[0], {**BOTH[1], "sensor": "digit"}]  # type: ignore[dict-item]
    heavy = [{"path": "lessons/touch", "weight": 1}, {**BOTH[1], "weight": 2}]  # type: ignore[dict-item]
    assert len({told(shards) for shards in (BOTH, BOTH[::-1], other, heavy, "lessons/touch")}) == 5


@pytest.mark.parametrize(
    ("shards", "message"),
    [
        ([{"path": "x", "wieght": 1}], r"'tasks.touch.shards.0.wieght' is unknown. Did you mean 'weight'"),
        ([{"path": "x", "val_split": "val"}], r"val_split, which is of stage one"),
        ([{"path": "x", "weight": 1}, "y"], r"'y' has no weight"),
    ],
)
def test_a_wrong_entry_is_named(setup: Path, tmp_path: Path, shards: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(setup, tmp_path, shards)


def task(setup: Path, sensor: Any) -> Task:
    told = load_config(TaskConfig, {**TOUCH, "shards": [{"path": "lessons/touch", "sensor": sensor}]})
    (source,) = task_sources("touch", told, str(setup))
    found = Task(source.name, source.config, setup, ["touch"])
    found.told = source
    return found


def sensors(**options: Any) -> Any:
    encoder = create_encoder("touch_cnn", size=16, width=8, channels=4, **options)
    return {"touch": SimpleNamespace(encoder=encoder)}


@pytest.mark.parametrize("sensor", ["digit", {"touch": "digit"}])
def test_the_sensor_token_knows_the_source(setup: Path, sensor: Any) -> None:
    found, made = task(setup, sensor), sensors(sensors=["gelsight", "digit"])
    found.check_signals(made)
    (part,) = [part for part in next(found.read()).parts if part["type"] == "touch"]
    assert sensor_codes(made["touch"].encoder.preprocess(part["touch"])[None]).tolist() == [2]


@pytest.mark.parametrize(
    ("sensor", "options", "message"),
    [
        ("digti", {"sensors": ["gelsight", "digit"]}, r"sensor='digti', and its encoder knows.*mean 'digit'"),
        ("digit", {}, r"tells no sensors apart"),
    ],
)
def test_an_unknown_sensor_is_one_clear_error(setup: Path, sensor: str, options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        task(setup, sensor).check_signals(sensors(**options))
