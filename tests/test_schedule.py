"""The rate of every training: a ramp, a cosine, a floor; and one place that works it out."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

import pairalign
from pairalign.schedule import FLOOR, warmup_cosine


def test_it_ramps_up_and_falls_to_the_floor() -> None:
    rates = [warmup_cosine(step, steps=100, warmup=10) for step in range(101)]
    for step, rate in enumerate(rates):
        ramp = min((step + 1) / 10, 1)
        assert rate == pytest.approx(ramp * (0.02 + 0.98 * (1 + math.cos(step / 100 * math.pi)) / 2))
    assert rates[100] == pytest.approx(FLOOR)
    assert warmup_cosine(0, steps=0, warmup=0) > 0


def test_nobody_else_has_a_cosine_of_steps() -> None:
    source = Path(pairalign.__file__).parent
    found = {path.relative_to(source).as_posix() for path in source.rglob("*.py") if "math.cos(" in path.read_text()}
    assert found == {"schedule.py"}
