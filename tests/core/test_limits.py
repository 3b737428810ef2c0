"""Bounds: each holds as its default or as its variable says, and is told with the way to change it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pairalign.core.errors import ConfigError, DataError
from pairalign.core.limits import LIMITS, check, limit, page, parse_json, read_bytes, variable
from pairalign.core.notation import parse_yaml

DOCS = Path(__file__).parents[2]


@pytest.mark.parametrize("name", LIMITS)
def test_a_bound_is_its_default_or_what_its_variable_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    most = LIMITS[name].default
    check(name, most, "it")
    with pytest.raises(DataError, match=f"it is too large: .* set {variable(name)} if it is meant"):
        check(name, most + 1, "it")
    monkeypatch.setenv(variable(name), "1e12")
    check(name, most + 1, "it")
    assert limit(name) == 10**12


@pytest.mark.parametrize("told", ["", "many", "0", "-3", "nan", "inf"])
def test_a_variable_that_is_no_number_is_named(told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIRALIGN_MAX_POINTS", told)
    with pytest.raises(ConfigError, match=r"PAIRALIGN_MAX_POINTS=.*give a number of points"):
        limit("points")


def test_a_file_is_measured_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "hole.npy").open("wb") as file:
        file.truncate(1 << 42)  # of which the disk holds nothing
    with pytest.raises(DataError, match=r"hole.npy' is too large: 4,398,046,511,104 bytes"):
        read_bytes(tmp_path / "hole.npy")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="is no plain file"):
        read_bytes(tmp_path / "pipe")


@pytest.mark.parametrize("depth", [65, 900, 100_000])
def test_json_nested_too_deeply_is_refused(depth: int) -> None:
    with pytest.raises(ValueError, match="nested"):
        parse_json("[" * depth + "]" * depth)
    assert parse_json("[" * 64 + "]" * 64)
    assert parse_json(json.dumps([[1]] * 1000)) == [[1]] * 1000


ALIASES = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)
MERGES = "a0: &a0 {x: 1, y: 2}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 12)
)


@pytest.mark.parametrize("text", [ALIASES, MERGES])
def test_aliases_of_aliases_are_counted_before_they_are_spelled_out(text: str) -> None:
    with pytest.raises(ValueError, match=r"stands for more than 100,000 values"):
        parse_yaml(text)


def test_a_few_aliases_are_what_they_stand_for() -> None:
    assert parse_yaml("a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}") == {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": 2}}


@pytest.mark.parametrize(
    ("text", "told"), [("x: " + "[" * 70 + "]" * 70, "deeper than 64"), ("#" * (1 << 20), "large")]
)
def test_yaml_of_any_length_and_depth_is_refused(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_yaml(text + "\ny: 1")


def test_the_table_in_security_is_that_of_the_code() -> None:
    assert page() in (DOCS / "SECURITY.md").read_text(encoding="utf-8")
