"""Records of anybody's: of the declared types, or refused in one line that names the entry."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pairalign.core.errors import did_you_mean
from pairalign.core.notation import parse_yaml
from pairalign.core.record import Closed, as_record, parse_record, read_record


@dataclass(frozen=True)
class Told:
    name: str
    size: tuple[int, int] = (1, 1)
    more: dict[str, float] | None = None


@dataclass(frozen=True)
class Shut(Closed):
    name: str


def test_plain_values_become_what_they_are_declared_as() -> None:
    assert as_record({"name": "x", "size": [2, 3], "later": 1}, Told) == Told("x", (2, 3))
    assert as_record({"a": 1}, dict[str, float]) == {"a": 1.0}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"name": 3}, r"name is 3, which should be a valid string"),
        ({"name": "x", "size": [1]}, r"size\.1 is"),
        ({"name": "x", "size": ["1", 2]}, r"size\.0 is '1'"),
        ({"name": "x", "size": [True, 2]}, r"size\.0 is True"),
        ({"name": "x", "more": {"a": "b"}}, r"more\.a is 'b'"),
        ({}, "name is"),
        ([1], r"it is \[1\]"),
        (None, "it is None"),
        ({"name": "x" * 10_000, "size": "y" * 10_000}, r"size is 'yyy.*\.\.\..*y'"),
    ],
)
def test_anything_else_is_refused_with_the_first_entry_that_is_wrong(value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        as_record(value, Told)
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


def test_a_closed_record_has_no_other_keys() -> None:
    with pytest.raises(ValueError, match="later is 1"):
        as_record({"name": "x", "later": 1}, Shut)


@pytest.mark.parametrize("text", [b"", b"\xff", b"[" * 100_000, b'{"a":' * 50_000, b"9" * 5000, b'{"name": "\\ud800"}'])
def test_no_text_breaks_a_reader(text: bytes, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_record(text, Told)
    (tmp_path / "x.json").write_bytes(text)
    with pytest.raises(ValueError, match=r"."):
        read_record(tmp_path / "x.json", Told)


def test_a_whole_character_that_is_written_in_halves_is_read() -> None:
    assert parse_record(json.dumps({"name": "😀"}), Told).name == "😀"


@pytest.mark.parametrize("text", ["!!int ''", "!!bool x", "!!float x", "!!timestamp x", "!!binary é", "? [a]\n: 1"])
def test_every_kind_of_yaml_error_is_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_yaml(text)
    assert str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_word_of_sixty_thousand_letters_is_near_to_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []
    monkeypatch.setattr(
        "pairalign.core.errors.get_close_matches", lambda name, known, **_: compared.extend(known) or []
    )
    assert did_you_mean("[" * 60_000, ["image", "touch"]) == " Known: image, touch."
    assert did_you_mean("imag", ["image", "x" * 60_000]).startswith(" Known: image, xxx")
    assert compared == ["image"]
