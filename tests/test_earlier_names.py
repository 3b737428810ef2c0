"""Names that users have of earlier versions still do what those of today do, and say what they are called now."""

from __future__ import annotations

import copy

import pytest

from pairalign.data import convert
from pairalign.data.convert import dataset_format


def test_a_data_set_is_registered_by_the_earlier_decorator(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.warns(FutureWarning, match="known_layouts is called known_formats now"):
        known = convert.known_layouts()
    assert known == convert.known_formats()
    monkeypatch.setattr(dataset_format, "_FORMATS", copy.copy(dataset_format._FORMATS))
    with pytest.warns(FutureWarning, match="register_layout is called register_format now"):
        convert.register_layout("mine", title="", source="", licence="", marks=())(lambda folder, skip: iter(()))
    with pytest.warns(FutureWarning, match="find_layout is called find_format now"):
        assert isinstance(convert.find_layout("mine"), convert.Layout)
