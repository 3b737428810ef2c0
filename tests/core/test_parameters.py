"""Settings are checked by what their function says that they are, for dataset formats and protocols alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pytest

from pairalign.core.errors import ConfigError, DataError
from pairalign.core.parameters import check_values, fits, settings_of, text_settings
from pairalign.data.convert import known_formats
from pairalign.data.convert.dataset_format import DatasetFormat, check_options
from pairalign.evaluate.protocols.registry import Protocol, check_settings, known_protocols

if TYPE_CHECKING:
    from pairalign.data.convert.dataset_format import Listing

FITTING: list[tuple[Any, list[Any], list[Any]]] = [
    (int, [3, 0], [True, 3.0, "3", None]),
    (float, [3, 0.5], [False, "0.5", None]),
    (bool, [True], [1, 0, "true"]),
    (str, ["", "a"], [3, True, None]),
    (int | None, [None, 2], [True, "x"]),
    (list[str], [[], ["a"]], ["a", [1], ["a", None]]),
    (float | list[float], [1, [1, 0.5]], [True, [True], ["a"], None]),
    (Literal["a", 1], ["a", 1], ["b", True, 2]),
    (Any, [None, True, "x"], []),
]


@pytest.mark.parametrize(("annotation", "right", "wrong"), FITTING)
def test_a_value_fits_its_annotation_or_not(annotation: Any, right: list[Any], wrong: list[Any]) -> None:
    assert [fits(value, annotation) for value in right] == [True] * len(right)
    assert [fits(value, annotation) for value in wrong] == [False] * len(wrong)


def read(folder: str, skip: str, *, every: int = 1, most: int | None = None, name: str = "x", own=None) -> Listing:  # type: ignore[no-untyped-def]
    """A format as a stranger writes one: a type that is imported for type checkers alone, and a bare parameter."""


def test_options_of_a_layout_are_checked_by_annotation() -> None:
    form = DatasetFormat("mine", "", "", "", (), read)
    check_options(form, {"every": 2, "most": 5, "name": "y", "own": object()})
    check_options(form, {"most": None})
    for options, words in (
        ({"every": True}, "option every=True of dataset format 'mine': give a whole number, such as 1."),
        ({"most": "5"}, "option most='5' of dataset format 'mine': give a whole number or null."),
        ({"most": False}, "give a whole number or null"),
        ({"name": 3}, "give text, such as 'x'"),
        ({"evry": 1}, "dataset format 'mine' has no option 'evry'. Did you mean 'every'"),
    ):
        with pytest.raises(DataError, match=words.replace("?", r"\?")):
            check_options(form, options)
    assert form.options == {"every": 1, "most": None, "name": "x", "own": None}
    assert text_settings(form.parameters) == ["name"]


def test_settings_of_a_protocol_follow_the_same_rule() -> None:
    def measure(task: object, tau: float | list[float] = 0.5, split: str | None = None) -> list[Any]:
        return []

    protocol = Protocol("mine", "", "", measure)
    check_settings(protocol, {"tau": 1, "split": "val"})
    with pytest.raises(ConfigError, match=r"setting tau=True of protocol 'mine': give a number or a list such as"):
        check_settings(protocol, {"tau": True})
    with pytest.raises(ConfigError, match="has no setting 'splt'"):
        check_settings(protocol, {"splt": "val"})


def test_every_default_is_what_its_own_annotation_takes() -> None:
    for parameters in (
        *(form.parameters for form in known_formats().values()),
        *(protocol.settings for protocol in known_protocols().values()),
    ):
        defaults = {name: one.default for name, one in parameters.items()}
        check_values(parameters, defaults, "setting", "it", ConfigError)
        assert all(one.annotation is not one.empty for one in parameters.values())


def test_the_first_parameters_are_no_settings() -> None:
    assert list(settings_of(read, 3)) == ["most", "name", "own"]
