"""Every setting of every configuration has a rule, in YAML and in Python, and whatever is accepted can be written."""

from __future__ import annotations

import dataclasses
import datetime
import importlib
import pkgutil
import re
import typing
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import pairalign
from pairalign.core.bounds import Strict, Within
from pairalign.core.config import AlignConfig, load_config, to_yaml
from pairalign.core.errors import ConfigError
from pairalign.core.names import TAKEN, Written
from pairalign.core.notation import parse_yaml
from pairalign.core.sources import PoolForm
from pairalign.finetune.config import RecomposeConfig

TASK = {"shards": "s", "prompt": "{touch}", "answer": "{answer}"}
STAGES: dict[type[Any], dict[str, Any]] = {
    AlignConfig: {
        "modalities": {"image": {"encoder": "touch_cnn"}, "touch": {"encoder": "touch_cnn"}},
        "edges": [{"between": ["image", "touch"], "shards": ["p", {"path": "q", "name": "other"}]}],
        "out": "runs/x",
    },
    RecomposeConfig: {
        "base": "b",
        "sensors": {"touch": {"run": "r"}},
        "tasks": {"t": {**TASK, "signals": {"first": "touch"}}},
        "held_out": {"h": TASK},
        "out": "runs/y",
    },
}
FREE = {"TaskConfig.answer", "RecomposeConfig.device_map"}  # empty in calibration; "" for all modules
OF_PACKS = ("Manifest", "SensorRecipe")  # written by the library, and read as a stranger's file: see tests/export


def configurations() -> list[type[Any]]:
    """Every dataclass of settings in the library."""
    for module in pkgutil.walk_packages(pairalign.__path__, "pairalign."):
        if module.name.endswith((".config", ".sources", ".manifest", ".sensor")):
            importlib.import_module(module.name)
    found, left = list[type[Any]](), [Strict]
    while left:
        left += (more := left.pop().__subclasses__())
        found += more
    return [cls for cls in dict.fromkeys(found) if cls.__module__.startswith("pairalign.")]


def fields(cls: type[Any]) -> Iterator[tuple[str, Any]]:
    hints = typing.get_type_hints(cls, include_extras=True)
    return ((field.name, hints[field.name]) for field in dataclasses.fields(cls))


def unruled(hint: Any, ruled: bool = False) -> Iterator[Any]:
    """The plain numbers and texts in a type that nothing is said of, and containers whose content nobody names."""
    if typing.get_origin(hint) is typing.Annotated:
        base, *rules = typing.get_args(hint)
        if not any(isinstance(rule, PoolForm) for rule in rules):
            yield from unruled(base, any(isinstance(rule, (Within, Written)) for rule in rules))
    elif hint in (int, float, str, dict, list, tuple):
        yield from () if ruled and hint in (int, float, str) else (hint,)
    elif typing.get_origin(hint) is not typing.Literal and hint is not typing.Any:
        for inner in typing.get_args(hint):
            yield from unruled(inner, ruled)


def test_every_setting_has_a_rule() -> None:
    found = {f"{cls.__name__}.{name}": list(unruled(hint)) for cls in configurations() for name, hint in fields(cls)}
    assert {"TuneConfig.lr", "AlignConfig.modalities", "DormantConfig.options", "SourceConfig.path"} <= found.keys()
    bare = {name for name, kinds in found.items() if kinds and not name.startswith(OF_PACKS)}
    assert bare == FREE, "give these fields a type of pairalign.core.bounds or pairalign.core.names"


def places(value: Any, hint: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every setting of a configuration, given one."""
    yield path
    if dataclasses.is_dataclass(value):
        for name, inner in fields(type(value)):
            yield from places(getattr(value, name), inner, (*path, name))
    elif isinstance(value, dict):
        for name in value:
            yield from places(value[name], None, (*path, name))
    elif isinstance(value, tuple):
        for n, one in enumerate(value):
            yield from places(one, None, (*path, n))


PLACES = [(cls, path) for cls, values in STAGES.items() for path in places(load_config(cls, values), cls) if path]
TEXTS = ["", " ", "-5", "5", "true", ".touch", "a/b", "a b", "../x", "x\0y", "a\nb", "train", "x" * 5000]
NUMBERS = [2**100, -(2**100), 10**400, float("nan"), float("inf"), -float("inf"), -0.5, 0.5, 1.0, 1e300]
DAY = datetime.date(2020, 1, 1)
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([*NUMBERS, *TEXTS]),
    st.sampled_from(
        [datetime.date(2020, 1, 1), b"x", {1}, {"deep": [float("nan")]}, {"when": datetime.date(2020, 1, 1)}]
    ),
    st.text(max_size=8),
    st.lists(st.sampled_from(["a", "a", 1, None, "", ["a"], {}]), max_size=3),
    st.dictionaries(st.sampled_from(["path", "", ".touch", "train", 3]), st.sampled_from([1, "a", None, {}])),
)


def set_at(values: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A plain copy with one setting changed."""
    first, *rest = path
    new = set_at(values[first], tuple(rest), value) if rest else value
    return [*values[:first], new, *values[first + 1 :]] if isinstance(values, list) else {**values, first: new}


def python_places() -> Iterator[tuple[Any, str]]:
    """Every dataclass in the two configurations, with each of its fields."""
    left = [load_config(cls, values) for cls, values in STAGES.items()]
    while left:
        one = left.pop()
        for name, _ in fields(type(one)):
            yield one, name
            inner = getattr(one, name)
            parts = inner.values() if isinstance(inner, dict) else inner if isinstance(inner, tuple) else [inner]
            left += [part for part in parts if dataclasses.is_dataclass(part)]


def refused(make: Callable[[], Any]) -> str | None:
    """What a configuration is refused with, `None` where it is taken."""
    try:
        make()
    except ConfigError as error:
        return str(error)
    return None


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(PLACES), JUNK)
def test_any_value_anywhere_is_refused_with_a_fix_or_can_be_written(
    place: tuple[type[Any], tuple[Any, ...]], value: Any
) -> None:
    cls, path = place
    plain = set_at(parse_yaml(to_yaml(load_config(cls, STAGES[cls]))), path, value)
    told = refused(lambda: load_config(cls, plain))
    if told is not None:
        heading, *faults = told.splitlines() if "\n" in told else ["", told]
        assert heading == "" or heading.endswith("settings are wrong:")
        assert all(re.search(r"give|name|write|add it|Did you mean|Known: |leave", line) for line in faults), told
        assert all(line.isprintable() for line in faults)
        return
    config = load_config(cls, plain)
    assert load_config(cls, parse_yaml(to_yaml(config))) == config
    assert dataclasses.replace(config) == config  # Python's check takes what YAML's took


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(list(python_places())), JUNK)
def test_python_is_refused_or_taken_as_yaml_is(place: tuple[Any, str], value: Any) -> None:
    """Without YAML's reading of "5" as a number, and with lists as the tuples that they are read as."""
    config, name = place
    told = refused(lambda: dataclasses.replace(config, **{name: value}))
    if told is not None:
        assert name in told
        assert "\n" not in told
        return
    made = dataclasses.replace(config, **{name: tuple(value) if isinstance(value, list) else value})
    assert load_config(type(config), parse_yaml(to_yaml(made))) == made


WRONG = [".touch", "a.b", "a/b", "", " ", "train", "keys", "_x", "é\n", "image", "text", "-a", "x" * 65]


@pytest.mark.parametrize("name", WRONG)
def test_a_sensor_has_one_form_of_name(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^config key 'sensors\."):
        load_config(RecomposeConfig, {**STAGES[RecomposeConfig], "sensors": {name: {"run": "r", "modality": "touch"}}})


@pytest.mark.parametrize("name", ["touch", "tactile_left", "left-hand", "3d", "hand2", "écho"])
def test_names_that_people_give_are_taken(name: str) -> None:
    values = {**STAGES[RecomposeConfig], "sensors": {name: {"run": "r", "modality": "touch"}}}
    assert name in load_config(RecomposeConfig, values).sensors
    nn.ModuleDict({name: nn.Identity()})


def test_what_torchs_modules_call_their_own_is_taken() -> None:
    """What other libraries hang onto them for a while aside."""
    names = {name for module in (nn.Module(), nn.ModuleDict()) for name in dir(module) if not name.startswith("_")}
    from_torch = (getattr(getattr(nn.ModuleDict, name, None), "__module__", "torch") for name in names)
    assert {name for name, home in zip(names, from_torch, strict=True) if home.startswith("torch")} <= TAKEN


@pytest.mark.parametrize("name", ["", " touch", "a/b", "x\ty"])
def test_a_task_is_called_by_words(name: str) -> None:
    for part in ("tasks", "validation", "held_out", "calibration"):
        with pytest.raises(ConfigError, match=rf"^config key '{part}\."):
            load_config(RecomposeConfig, {**STAGES[RecomposeConfig], part: {name: TASK}})
    assert load_config(RecomposeConfig, {**STAGES[RecomposeConfig], "tasks": {"is it soft?": TASK}})


VALUES = [
    *("[1", "{a", "'", "&a [*a]", "*a", "!!python/object:os.x {}", "!!set {a}", "!!binary aGk=", "2020-01-01", "%"),
    *("!!timestamp x", "{a: 1, a: 2}", "{[1]: 2}", "[" * 3000, "9" * 5000, ".nan", "- 1", "a: b: c", "\ud800", "."),
]
SIGNS = ["=", "", "==", ".=", ".x=", ".0=", ".-1=", ".99=", "..="]
OVERRIDES = st.one_of(
    st.text(max_size=20),
    st.builds(
        lambda place, sign, value: f"{'.'.join(map(str, place[1]))}{sign}{value}",
        st.sampled_from(PLACES),
        st.sampled_from(SIGNS),
        st.one_of(st.text(max_size=12), st.sampled_from(VALUES)),
    ),
)


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(list(STAGES)), st.lists(OVERRIDES, max_size=3))
def test_any_override_is_refused_or_can_be_written(cls: type[Any], overrides: list[str]) -> None:
    if refused(lambda: load_config(cls, STAGES[cls], overrides)) is None:
        config = load_config(cls, STAGES[cls], overrides)
        assert load_config(cls, parse_yaml(to_yaml(config))) == config


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.lr=1", "train.lr=2"], r"override 'train.lr' stands twice: give it once"),
        (["train.lr=1", "train={steps: 3}"], r"override 'train' takes back 'train.lr', which stands before it"),
        (["train.lr"], r"override 'train.lr': write it as section.key=value"),
        (["seed=&a [*a]"], r"override 'seed=&a \[\*a\]' holds no YAML value \(it holds itself\)"),
        (["modalities.touch.options.when=2020-01-01"], r"options.when' is .*: give text, .* a date in quotes"),
        (["modalities.touch.options.when=.nan"], r"options.when' is nan: give text, finite numbers"),
        (["edges.0.weight.x=1"], r"'edges.0.weight' is"),
        (["edges.-1.weight=1"], r"'-1' is no position in a list of 1"),
        (["out.x=1"], r"'out' is a value, not a section"),
    ],
)
def test_overrides_say_what_is_wrong_with_them(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        load_config(AlignConfig, STAGES[AlignConfig], overrides)
    assert "\n" not in str(error.value)


def test_a_wider_override_may_stand_before_a_narrower_one() -> None:
    config = load_config(AlignConfig, STAGES[AlignConfig], ["train={steps: 3, lr: 1}", "train.lr=0.5"])
    assert (config.train.steps, config.train.lr) == (3, 0.5)
