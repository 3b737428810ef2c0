"""The schema of a configuration takes and refuses what `load_config` does."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pairalign.cli.main import build_parser, main
from pairalign.core.config import AlignConfig, load_config
from pairalign.core.errors import ConfigError
from pairalign.core.notation import apply_override, read_mapping
from pairalign.core.schema import settings_below
from pairalign.finetune.config import RecomposeConfig
from pairalign.finetune.sequence.schema import KINDS, config_schema

ROOT = Path(__file__).parents[2]
ONE: dict[str, Any] = {
    "modalities": {"a": {"encoder": "tiny"}, "b": {"encoder": "tiny"}},
    "edges": [{"between": ["a", "b"], "shards": "a-b"}],
    "out": "run",
}
TWO: dict[str, Any] = {
    "base": "base",
    "sensors": {"touch": {"run": "run"}},
    "tasks": {"feel": {"shards": "s", "prompt": "{touch}", "answer": "yes"}},
    "out": "taught",
}
ALIGN = """seed=-1 seed=true seed=1.5 latent.hidden=-3 train.steps=0 edges.0.between=[a] edges.0.between=[a,b]
    loss.contrastive=nope train.lrr=1 modalities.a.encoder='' modalities.a.tune=2 modalities.a.tune=0
    modalities.a.tune=last data.bad_fraction=2 data.bad_fraction=1 modalities.a.head=anchor modalities.a.head=0
    train.devices=auto train.devices=0 edges.0.shards=[x,{path:y,split:a}] edges.0.shards=[x,{weight:2}]
    edges.0.shards=3 loss.scale=0 loss.scale=1.0e1 data.val_split=null out=null modalities.a-b.encoder=x
    modalities.é.encoder=x modalities._a.encoder=x modalities.a.options={x:[1]} plugins=[p.py] plugins=p.py"""
RECOMPOSE = """sensors.touch.tokens=all sensors.touch.tokens=-1 sensors.touch.bridge=nope dormant.density=1
    dormant.density=0.5 max_forgetting=1 max_forgetting={with_signal:1} max_forgetting=-1 train.length_buckets=true
    train.length_buckets=4 probe.words=[a] probe.words=some tasks.feel.answer=''
    tasks.feel.prompt='' tasks.a/b={} dormant.layers_to_transform=[-1,2] device_map={a:1} device_map={a:-1}
    sensors.wet-touch.run=x start={run:x} start={} train.pull_back=auto train.pull_back=2 train.epochs=0"""


def cases() -> list[tuple[str, str]]:
    return [(kind, word) for kind, text in (("align", ALIGN), ("recompose", RECOMPOSE)) for word in text.split()]


@pytest.fixture(scope="module")
def validators() -> dict[str, jsonschema.Draft7Validator]:
    found = {kind: config_schema(kind) for kind in KINDS}
    for schema in found.values():
        jsonschema.Draft7Validator.check_schema(schema)
    return {kind: jsonschema.Draft7Validator(schema) for kind, schema in found.items()}


def test_it_takes_and_refuses_what_the_configuration_does(validators: dict[str, jsonschema.Draft7Validator]) -> None:
    differ, taken = [], 0
    for kind, word in cases():
        values = copy.deepcopy(ONE if kind == "align" else TWO)
        apply_override(values, word.replace(":", ": ").replace(",", ", "))
        try:
            load_config(KINDS[kind], values)
            right = True
        except ConfigError:
            right = False
        taken += right
        if validators[kind].is_valid(values) != right:
            differ.append((kind, word, right))
    assert differ == []
    assert 0 < taken < len(cases())


def test_every_configuration_of_the_project_is_valid(validators: dict[str, jsonschema.Draft7Validator]) -> None:
    paths = [*ROOT.glob("configs/*.yaml"), *ROOT.glob("configs/re*/*.yaml"), *ROOT.glob("src/pairalign/demo/*.yaml")]
    assert len(paths) > 15
    for path in paths:
        values = read_mapping(path)
        found = list(validators["recompose" if "base" in values else "align"].iter_errors(values | {"out": "x"}))
        assert [f"{path.name}: {error.message}" for error in found] == []


def test_a_stage_of_a_sequence_is_any_part_of_a_recipe(validators: dict[str, jsonschema.Draft7Validator]) -> None:
    values: dict[str, Any] = {"stages": [{"name": "a", "tasks": {"feel": {"split": "val"}}}], "out": "o"}
    values |= {"defaults": {"base": "b", "train": {"lr": 0.1}}, "arms": {"rows": {"dormant": {"structure": "rows"}}}}
    assert validators["sequence"].is_valid(values)
    for fault in ({"arms": {"rows": {"dormant": {"structre": "rows"}}}}, {"stages": [{"tasks": {}}]}, {"seeds": ["a"]}):
        assert not validators["sequence"].is_valid(values | fault)


def test_a_setting_says_what_it_means_and_what_it_is_by_default() -> None:
    steps = config_schema("align")["definitions"]["TrainConfig"]["properties"]["steps"]
    told = "optimizer steps, 1 or more."
    assert steps == {"type": "integer", "minimum": 1, "description": told, "default": 1000}
    for kind in KINDS:
        for name, section in {"": config_schema(kind), **config_schema(kind)["definitions"]}.items():
            assert all(one.get("description") for one in section.get("properties", {}).values()), (kind, name)


def test_a_new_project_names_the_schemas_that_lie_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "glove"]) == 0
    capsys.readouterr()
    for file, kind in (("glove.yaml", "align"), ("teach.yaml", "recompose")):
        text = (tmp_path / "glove" / file).read_text()
        named = text.partition("$schema=")[2].split()[0]
        schema = json.loads((tmp_path / "glove" / named).read_text())
        jsonschema.validate(yaml.safe_load(text), schema)
        assert main(["schema", kind]) == 0
        assert json.loads(capsys.readouterr().out) == schema


def test_settings_are_listed_by_the_names_that_the_command_line_takes() -> None:
    names = [*settings_below(AlignConfig), *settings_below(RecomposeConfig)]
    assert {"train.lr", "loss.scale", "train.rehearse.share", "dormant.density", "modalities"} <= set(names)
    verbs = build_parser()._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    assert [one.choices for one in verbs["schema"]._actions if one.dest == "kind"] == [tuple(KINDS)]
