"""Names that users have of earlier versions still import, as the same modules, and say what they are called now."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path

import pytest

from pairalign.moved import LEFT, MOVED

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("old", sorted(MOVED))
def test_an_old_name_is_todays_module(old: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        assert importlib.import_module(old) is importlib.import_module(MOVED[old])


def test_an_old_name_says_what_it_is_called_now() -> None:
    import sys

    sys.modules.pop("pairalign.recompose.mllm", None)
    with pytest.warns(FutureWarning, match="pairalign.recompose.mllm is called pairalign.sensors.model now"):
        importlib.import_module("pairalign.recompose.mllm")


def test_a_module_inside_a_package_that_moved() -> None:
    with pytest.warns(FutureWarning, match="finetune.methods"):
        old = importlib.import_module("pairalign.recompose.baselines.lora")
    assert old is importlib.import_module("pairalign.finetune.methods.lora")


def test_a_name_that_never_was_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("pairalign.recompose.nonsense")


@pytest.mark.parametrize("old", sorted(LEFT))
def test_what_left_the_package_says_where_it_lies(old: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=f"it is {LEFT[old]} of the repository"):
        importlib.import_module(f"{old}.anything")
    assert (ROOT / LEFT[old]).exists()
