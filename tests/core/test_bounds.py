"""Ranges of settings: every number has one, in YAML and in Python, and all that is wrong is said at once."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

import pytest

from pairalign.core.bounds import Strict, Within
from pairalign.core.config import AlignConfig, DataConfig, LossConfig, TrainConfig, TrainerConfig, load_config
from pairalign.core.errors import ConfigError
from pairalign.dormant.config import DormantConfig
from pairalign.finetune.config import RecomposeConfig, TuneConfig

ONE: dict[str, Any] = {
    "modalities": {"image": {"encoder": "touch_cnn"}, "touch": {"encoder": "touch_cnn"}},
    "edges": [{"between": ["image", "touch"], "shards": "pairs"}],
    "out": "runs/x",
}
TASK = {"shards": "s", "prompt": "{touch}", "answer": "{answer}"}
TWO: dict[str, Any] = {
    "base": "b",
    "sensors": {"touch": {"run": "r"}},
    "tasks": {"t": TASK},
    "held_out": {"h": TASK},
    "out": "runs/y",
}


def numbers(hint: Any, path: str = "", bounded: bool = False) -> typing.Iterator[tuple[str, bool]]:
    """The path of every number of a configuration, and whether it has bounds."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        for name, inner in typing.get_type_hints(hint, include_extras=True).items():
            yield from numbers(inner, f"{path}.{name}" if path else name)
    elif hint in (int, float):
        yield path, bounded
    elif typing.get_origin(hint) is not typing.Literal:
        bounded = bounded or any(isinstance(part, Within) for part in getattr(hint, "__metadata__", ()))
        for inner in typing.get_args(hint):
            yield from numbers(inner, path, bounded)


@pytest.mark.parametrize("config", [AlignConfig, RecomposeConfig])
def test_no_number_of_either_stage_is_without_bounds(config: type) -> None:
    found = dict(numbers(config))
    assert {"train.lr", "train.devices", "train.threads", "seed"} <= set(found)
    assert len(found) > 20
    assert not [path for path, bounded in found.items() if not bounded]


STAGE_ONE = [
    "train.steps=0", "train.steps=-5", "train.steps=true", "train.steps=.inf", "train.steps=1.5",
    "train.steps='-5'", "train.lr=-1", "train.lr=.nan", "train.lr=false", "train.warmup=-5", "train.accumulate=0",
    "train.batch_size=0", "train.clip=-1", "train.weight_decay=-1", "train.validate_every=-3",
    "train.checkpoint_every=-1", "train.threads=-2", "train.threads=0", "train.devices=0", "train.devices=-2",
    "train.devices=many", "train.nodes=0", "seed=-1", "seed=99999999999999999999", "latent.shared=0",
    "latent.private=-1", "latent.hidden=-3", "loss.scale=0", "loss.scale=0.5", "loss.scale_max=2", "loss.chunk=0",
    "loss.noise=-1", "loss.contrast=-1", "loss.relation_temperature=0", "data.workers=-1", "data.shuffle=-5",
    "data.bad_fraction=-1", "data.bad_fraction=1.5", "data.memory=-1", "data.memory=.inf",
    "modalities.touch.views=0", "modalities.touch.views=true", "modalities.touch.head=-1",
    "modalities.touch.tune=0", "modalities.touch.tune=true", "edges.0.weight=-1", "edges.0.weight=.nan",
]  # fmt: skip
STAGE_TWO = [
    "train.steps=-5", "train.steps=true", "train.lr=-1", "train.bridge_lr=.nan", "train.accumulate=0",
    "train.batch_size=0", "train.bridge_steps=-1", "train.warmup=-5", "train.nodes=0", "train.threads=-1",
    "train.memory=-1", "seed=-1", "calibration_size=0", "max_forgetting=-1", "sensors.touch.tokens=-1",
    "sensors.touch.image_count=0", "tasks.t.weight=-1", "held_out.h.limit=0", "tasks.t.limit=-5",
    "dormant.density=0", "dormant.density=1", "dormant.density=2", "dormant.density=true", "dormant.seed=-1",
    "dormant.owl_outlier=0", "dormant.owl_spread=-1", "dormant.layers_to_transform=[true]",
]  # fmt: skip


@pytest.mark.parametrize(
    ("config", "values", "override"),
    [(AlignConfig, ONE, text) for text in STAGE_ONE] + [(RecomposeConfig, TWO, text) for text in STAGE_TWO],
)
def test_a_number_out_of_its_range_is_refused_by_name_value_and_fix(
    config: type, values: dict[str, Any], override: str
) -> None:
    load_config(config, values)
    with pytest.raises(ConfigError) as refused:
        load_config(config, values, [override])
    message, (path, _, value) = str(refused.value), override.partition("=")
    named = path.removesuffix(".scale").removesuffix(".scale_max") if "does not fit" in message else path
    assert f"'{named}" in message
    assert value.strip("'.[]").lower()[:15] in message.lower()
    assert "give " in message
    assert "\n" not in message


def test_all_faults_are_told_at_once_each_in_its_line() -> None:
    wrong = ["train.lr=-1", "train.wramup=5", "loss.scale=0.5", "edges.0.shards=3", "modalities.image.views=0"]
    with pytest.raises(ConfigError) as refused:
        load_config(AlignConfig, ONE, wrong)
    first, *lines = str(refused.value).splitlines()
    assert first == "5 settings are wrong:"
    found = "\n".join(sorted(line.strip() for line in lines))
    assert found == (
        "config key 'edges.0.shards' is 3: write text, a number in quotes.\n"
        "config key 'loss' does not fit together: scale is 0.5, scale_min 1 and scale_max 100: give scale_min ≤ scale "
        "≤ scale_max.\n"
        "config key 'modalities.image.views' is 0: give a whole number of at least 1.\n"
        "config key 'train.lr' is -1: give a number of at least 0.\n"
        "config key 'train.wramup' is unknown. Did you mean 'warmup'?"
    )


def test_a_key_of_several_types_is_one_fault() -> None:
    with pytest.raises(
        ConfigError, match=r"^config key 'train.devices' is 'many': give a whole number or give 'auto'.$"
    ):
        load_config(AlignConfig, ONE, ["train.devices=many"])


@pytest.mark.parametrize(
    ("cls", "settings"),
    [
        (TrainConfig, {"steps": -5}),
        (TrainConfig, {"threads": 0}),
        (TuneConfig, {"lr": float("nan")}),
        (LossConfig, {"scale": 200.0}),
        (DataConfig, {"bad_fraction": -1}),
        (DormantConfig, {"density": True}),
    ],
)
def test_python_is_checked_like_yaml(cls: type[Strict], settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        cls(**settings)
    with pytest.raises(ConfigError, match=next(iter(settings))):
        dataclasses.replace(cls(), **settings)  # type: ignore[type-var]


def test_what_is_no_number_is_left_to_the_rest_of_the_type() -> None:
    assert Within(1, whole=True).fault("auto") is None
    assert Within(1, whole=True).fault(None) is None
    config = load_config(AlignConfig, ONE, ["train.devices=auto", "modalities.touch.head=anchor", "train.steps=1e3"])
    assert (config.train.devices, config.train.steps) == ("auto", 1000)
    assert config.modalities["touch"].head == "anchor"


@pytest.mark.parametrize("cls", [TrainConfig, TuneConfig])
def test_what_both_stages_tell_the_trainer_is_declared_once(cls: Any) -> None:
    shared = {field.name: field for field in dataclasses.fields(TrainerConfig)}
    assert not shared.keys() & vars(cls)["__annotations__"].keys()
    own = {field.name: field for field in dataclasses.fields(cls)}
    assert all((own[name].type, own[name].default) == (field.type, field.default) for name, field in shared.items())
    assert cls(500, 64) == cls(steps=500, batch_size=64)  # as they stood before there was a common part
    with pytest.raises(ConfigError, match=f"^{cls.__name__}: threads is 0: give a whole number of at least 1"):
        cls(threads=0)
