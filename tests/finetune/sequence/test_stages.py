"""The runs that a sequence's settings stand for, and what is refused before any of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pairalign.core.config import load_config
from pairalign.core.errors import ConfigError
from pairalign.finetune.config import StartConfig
from pairalign.finetune.sequence.config import SequenceConfig
from pairalign.finetune.sequence.stages import stages_of


def task(field: str) -> dict[str, Any]:
    return {"shards": field, "prompt": f"{{{field}}} what?", "answer": "{answer}"}


def stage(name: str, field: str = "touch", **more: Any) -> dict[str, Any]:
    return {"name": name, "tasks": {name: task(field)}, "validation": {f"{name} val": task(field)}, **more}


def sequence(**changes: Any) -> SequenceConfig:
    values = {
        "stages": [stage("a"), stage("b", "points", train={"steps": 7}), stage("c")],
        "defaults": {
            "base": "base",
            "sensors": {"touch": {"run": "run"}, "points": {"run": "run", "trained": True}},
            "train": {"steps": 5, "lr": 0.1},
        },
        "out": "out",
    }
    return load_config(SequenceConfig, {**values, **changes})


def test_each_stage_begins_where_the_one_before_ended() -> None:
    a, b, c = stages_of(sequence())
    assert a.config.start is None
    assert b.config.start == StartConfig(str(Path(a.config.out).resolve()), "same")
    assert c.config.start == StartConfig(str(Path(b.config.out).resolve()), "same")
    assert (a.arm, a.config.out) == ("dormant", "out/dormant/seed0/1-a")


def test_every_stage_has_all_sensors_and_asks_all_questions() -> None:
    for one in stages_of(sequence()):
        assert list(one.config.validation) == ["a val", "b val", "c val"]
        assert list(one.config.sensors) == ["touch", "points"]
        assert list(one.config.tasks) == [one.name]


@pytest.mark.parametrize(
    ("bridges", "trained"), [("taught", ["touch", "points", "touch"]), ("first", ["touch", "points", ""])]
)
def test_which_bridges_train(bridges: str, trained: list[str]) -> None:
    runs = stages_of(sequence(bridges=bridges))
    assert [" ".join(n for n, s in run.config.sensors.items() if s.trained) for run in runs] == trained


def test_an_arm_counts_before_a_stage_and_a_stage_before_the_defaults() -> None:
    arms = {
        "LoRA": {"method": "lora", "options": {"rank": 2}, "train": {"lr": 0.5}, "start": {"updates": "new"}},
        "full": {"method": "full"},
    }
    found = stages_of(sequence(arms=arms, seeds=[3, 4]))
    assert [(s.arm, s.seed, s.name) for s in found[:4]] == [("LoRA", 3, n) for n in "abc"] + [("LoRA", 4, "a")]
    assert len(found) == 12
    assert [s.config.train.steps for s in found[:3]] == [5, 7, 5]
    assert {s.config.train.lr for s in found[:6]} == {0.5}
    assert [s.config.start and s.config.start.updates for s in found[:3]] == [None, "new", "new"]
    assert found[0].config.cache == found[-1].config.cache == "out/base"
    assert found[3].config.seed == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": []}, "stages is empty"),
        ({"stages": [{"tasks": {}}]}, r"stages\[0\].name=None: give each stage a name"),
        ({"stages": [stage("a"), stage("a")]}, r"stages\[1\].name='a': stages\[0\] is called so"),
        ({"stages": [{"name": "a"}]}, r"stages\[0\] 'a': validation is missing"),
        ({"stages": [stage("a"), stage("b", validation={"a val": task("touch")})]}, "validation 'a val' is stage 'a'"),
        ({"stages": [stage("a", held_out={})]}, "held_out is the same in all stages"),
        ({"stages": [stage("a", out="x")]}, "stages names out"),
        ({"stages": [stage("a"), stage("b", train={"stepz": 1})]}, r"stages\[1\] 'b', arm 'dormant': .*stepz"),
        ({"arms": {"LoRA": {"methud": "lora"}}}, r"stages\[0\] 'a', arm 'LoRA': .*methud"),
        ({"seeds": [1, 1]}, "each once"),
    ],
)
def test_a_fault_names_its_stage(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        stages_of(sequence(**changes))
