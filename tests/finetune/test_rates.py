"""A learning rate that nobody gave is the method's own, and the run writes down which."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from stage_two import settings, short_run, values

from pairalign.cli.main import main
from pairalign.core.errors import ConfigError
from pairalign.finetune.methods import method_names
from pairalign.finetune.methods.method import METHODS, Method, register_method
from pairalign.finetune.module import StageTwo
from pairalign.finetune.rules import check_config, settled

TRAIN = {"steps": 1, "batch_size": 4, "accelerator": "cpu", "measure_tokens": 0}
BARE: dict[str, Any] = {"held_out": {}, "validation": {}, "train": TRAIN}
WHOLE = {"full", "lwf", "ewc", "wise_ft", "spider"}


@pytest.mark.parametrize("method", method_names())
def test_whole_models_train_at_a_fiftieth_of_what_acts_from_the_sensor_on(tmp_path: Path, method: str) -> None:
    config = settings(tmp_path, tmp_path / "out", method=method, dormant={"density": 0.1}, train=TRAIN)
    assert config.train.lr is None
    expected = 2e-5 if method in WHOLE else 1e-3 if method == "dormant" else 1e-4
    assert settled(config).train.lr == expected
    given = settings(tmp_path, tmp_path / "out", method=method, train={**TRAIN, "lr": 0.0})
    assert settled(given).train.lr == 0.0
    assert settled(settled(config)) == settled(config)


def test_weights_that_act_always_train_at_a_tenth(tmp_path: Path) -> None:
    config = settings(tmp_path, tmp_path / "out", dormant={"density": 0.1, "acts": "always"}, train=TRAIN)
    assert settled(config).train.lr == 1e-4


def test_a_method_that_nobody_registered_is_refused_by_its_name(tmp_path: Path) -> None:
    config = settled(settings(tmp_path, tmp_path / "out", method="fulll", train=TRAIN))
    with pytest.raises(ConfigError, match=r"method='fulll'.*full"):
        check_config(config)


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> list[list[float]]:
    """Of each optimizer that is made."""
    found: list[list[float]] = []
    make = StageTwo.configure_optimizers

    def made(self: StageTwo) -> Any:
        how = make(self)
        found.append([group["initial_lr"] for group in how["optimizer"].param_groups])
        return how

    monkeypatch.setattr(StageTwo, "configure_optimizers", made)
    return found


def test_a_run_trains_at_it_and_writes_it_down(setup: Path, tmp_path: Path, rates: list[list[float]]) -> None:
    short_run(setup, tmp_path / "full", method="full", **BARE)
    assert 2e-5 in rates[0]
    assert yaml.safe_load((tmp_path / "full" / "config.yaml").read_text())["train"]["lr"] == 2e-5
    short_run(setup, tmp_path / "rows", **BARE)
    assert 1e-3 in rates[1]
    assert short_run(setup, tmp_path / "rows", **BARE).finished  # the same settings, not others


@pytest.fixture
def own() -> Iterator[None]:
    @register_method("of_my_own")
    class _Own(Method):
        @classmethod
        def default_lr(cls, dormant: Any) -> float:
            return 0.25

    yield
    del METHODS["of_my_own"]


@pytest.mark.usefixtures("own")
def test_a_plugins_method_has_its_own(setup: Path, tmp_path: Path) -> None:
    assert settled(settings(setup, tmp_path / "out", method="of_my_own", **BARE)).train.lr == 0.25


def test_a_sequence_settles_each_arm(setup: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = values(setup, tmp_path, **BARE)
    for key in ("out", "tasks", "validation", "held_out"):
        base.pop(key)
    touch = {"touch": {"shards": "lessons/touch", "prompt": "{touch} {question}", "answer": "{answer}"}}
    config = {
        "stages": [{"name": "touch", "tasks": touch, "validation": {"touch": {**touch["touch"], "split": "val"}}}],
        "defaults": base,
        "arms": {"whole": {"method": "full"}, "rows": {}},
        "out": str(tmp_path / "sequence"),
    }
    path = tmp_path / "sequence.json"
    path.write_text(json.dumps(config))
    for _ in range(2):  # the second finds what the first made
        assert main(["sequence", str(path), "--quiet"]) == 0, capsys.readouterr().err
    found = {p.parts[-4]: yaml.safe_load(p.read_text()) for p in (tmp_path / "sequence").rglob("1-*/config.yaml")}
    assert {arm: one["train"]["lr"] for arm, one in found.items()} == {"whole": 2e-5, "rows": 1e-3}
