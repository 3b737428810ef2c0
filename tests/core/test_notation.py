"""How settings are written: numbers are numbers, what is written comes back, and every YAML error is one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairalign.cli.settings import read_settings
from pairalign.core.errors import ConfigError
from pairalign.core.notation import apply_override, parse_yaml, read_mapping, write_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3), ("1E5", 1e5), ("-2e+4", -2e4), ("1.5e3", 1500.0), (".5e1", 5.0), ("1.", 1.0), (".5", 0.5),
        ("3", 3), ("-7", -7), ("0x1F", 31), ("010", 8), ("1_000", 1000), ("true", True), ("null", None), ("no", False),
        ("1:4", "1:4"), ("'1e-3'", "1e-3"), ("e5", "e5"), ("1e", "1e"), ("-x", "-x"), ("16-mixed", "16-mixed"),
        (".inf", float("inf")), ("[1e-3, 2]", [1e-3, 2]),
    ],
)  # fmt: skip
def test_a_value_is_read_as_people_mean_it(text: str, value: Any) -> None:
    found: dict[str, Any] = {}
    apply_override(found, f"a.b={text}")
    assert found == {"a": {"b": value}}
    assert type(found["a"]["b"]) is type(value)
    assert read_settings([f"probe={text}"], "--set") == {"probe": value}


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text("-+.0123456789eExob_:ny~ ")


@given(st.dictionaries(st.text("abc", min_size=1), st.recursive(SCALARS, st.lists, max_leaves=5)))
@settings(deadline=None, max_examples=60)
def test_what_is_written_is_read_back_alike(values: dict[str, Any]) -> None:
    again = parse_yaml(write_yaml(values))
    assert again == values
    assert repr(again) == repr(values)


def test_an_older_reader_takes_text_for_text_too() -> None:
    import yaml

    values = {"a": "1e-3", "b": "1:4", "c": "12"}
    assert yaml.safe_load(write_yaml(values)) == values


@pytest.mark.parametrize(
    "override",
    ["train.lr=[", "a.b={", "a='", "a=\t- x", "a=!!timestamp x", "a=!!python/object:os.system {}", "a=2024-13-45",
     "a=*x", "a={b: 1, b: 2}", "a=" + "[" * 3000, "a=\x00", "=1", "a.=1", "a..b=1", ".a=1", "a", "l.²=1", "l.-1=1",
     "l.9=1", "v.x=1", "a=? [1]\n: {2: 3}\n? {}", "a=0b_"],
)  # fmt: skip
def test_an_override_that_cannot_be_read_is_one_line(override: str) -> None:
    with pytest.raises(ConfigError) as refused:
        apply_override({"l": [1, 2], "v": 3}, override)
    assert str(refused.value).startswith("override ")
    assert "\n" not in str(refused.value)


def test_an_empty_section_can_be_filled() -> None:
    values: dict[str, Any] = {"train": None}
    apply_override(values, "train.lr=1")
    assert values == {"train": {"lr": 1}}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("train:\n  lr: 1\n  steps: 2\n  lr: 3\n", "line 4, column 3: key 'lr' stands twice"),
        ("a: [1", "line 1"),
        ("a: 1\n b: 2\n", "line 2"),
        ("a:\n\t- b\n", "line 2"),
    ],
)
def test_a_bad_file_names_its_line(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=reason) as refused:
        read_mapping(tmp_path / "c.yaml")
    assert "\n" not in str(refused.value)


def test_an_override_is_of_one_key_where_the_file_repeats_a_section(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("tasks: &t {one: {limit: 1}}\nheld_out: *t\n")
    values = read_mapping(tmp_path / "c.yaml")
    apply_override(values, "tasks.one.limit=5")
    assert values == {"tasks": {"one": {"limit": 5}}, "held_out": {"one": {"limit": 1}}}
    (tmp_path / "c.yaml").write_text("a: &t [*t]\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        read_mapping(tmp_path / "c.yaml")


def test_merged_mappings_may_be_overridden() -> None:
    text = "one: &one {a: 1, b: 2}\ntwo: {<<: *one, b: 3}\nthree: {<<: *one}\n"
    assert parse_yaml(text) == {"one": {"a": 1, "b": 2}, "two": {"a": 1, "b": 3}, "three": {"a": 1, "b": 2}}
