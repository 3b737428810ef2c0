"""A declared signal accepts what keeps its promises, and names the promise that a value breaks."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from pairalign.core.errors import SignalError
from pairalign.core.types import Signal

IMU = Signal("series", (3, None), unit="m/s2", rate=100.0, axes=("axis", "time"), range=(-20.0, 20.0))


def test_a_value_that_keeps_every_promise_passes() -> None:
    IMU.check(torch.zeros(3, 17), "here")
    IMU.check(torch.zeros(5, 3, 17), "here", batched=True)
    Signal("text", (4,), dtype="int64").check(torch.arange(4), "here")


def test_whole_numbers_have_a_range_too() -> None:
    words = Signal("text", (4,), dtype="int64", range=(0, 9))
    words.check(torch.tensor([0, 1, 9, 2]), "here")
    words.check(torch.zeros(0, 4, dtype=torch.int64), "here", batched=True)
    with pytest.raises(SignalError, match=r"values 0 to 10 leave the declared range \(0, 9\)"):
        words.check(torch.tensor([0, 1, 10, 2]), "here")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.zeros(4, 17), r"shape (4, 17) is not the declared (3, None)"),
        (torch.zeros(3), r"shape (3,) is not the declared"),
        (torch.zeros(3, 5, dtype=torch.float64), "dtype torch.float64 is not the declared float32"),
        (torch.tensor([[0.0, float("nan")]]).expand(3, 2), "holds NaN or infinity"),
        (torch.full((3, 2), float("inf")), "holds NaN or infinity"),
        (torch.full((3, 2), 25.0), "leave the declared range (-20.0, 20.0) (m/s2)"),
        (np.zeros((3, 2), np.float32), "is a ndarray: return a torch.Tensor"),
    ],
)
def test_a_broken_promise_is_named_with_the_place(value: torch.Tensor, words: str) -> None:
    with pytest.raises(SignalError, match="sample 'k7'.*" + re.escape(words)):
        IMU.check(value, "sample 'k7'")


@pytest.mark.parametrize(
    ("recorded", "words"),
    [
        ({"unit": "g"}, "records unit 'g', the encoder declares 'm/s2'"),
        ({"rate": 50.0}, "records rate 50.0, the encoder declares 100.0"),
    ],
)
def test_recorded_unit_and_rate_must_agree(recorded: dict[str, object], words: str) -> None:
    with pytest.raises(SignalError, match=re.escape(words)):
        IMU.check_recorded(recorded, "edge a-b")
    IMU.check_recorded({"unit": "m/s2", "rate": 100.0}, "edge a-b")
    IMU.check_recorded({"unit": None, "rate": None}, "edge a-b")  # not recorded


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kind": "smell"}, "use one of image, points"),
        ({"dtype": "float23"}, "Did you mean 'float"),
        ({"range": (1.0, 0.0)}, "low ≤ high"),
        ({"axes": ("time",)}, "names 1 axes for shape (3, 8)"),
        ({"rate": 0.0}, "give a positive rate in Hz"),
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(SignalError, match=re.escape(words)):
        Signal(**{"kind": "series", "shape": (3, 8), **settings})  # type: ignore[arg-type]
