"""Bytes of kept values: the objects around tiny ones count, and parts of something large keep all of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from pairalign.data.held import OBJECT, TENSOR, held


def test_a_tiny_tensor_is_mostly_its_objects() -> None:
    assert held(torch.zeros(6)) == TENSOR + 24


def test_a_part_keeps_the_whole() -> None:
    whole = torch.zeros(1000, 100)
    assert held(whole[0]) == held(whole) == TENSOR + 400_000
    assert held(whole[0].clone()) == TENSOR + 400


@pytest.mark.parametrize(
    ("value", "least"),
    [
        ("ä" * 1000, 1000),
        (b"1" * 9, 9),
        (np.zeros(500), 4000),
        (np.zeros((9, 9))[:1], 72),
        (Image.new("L", (4, 3)), 12),
    ],
)
def test_never_less_than_the_numbers(value: object, least: int) -> None:
    assert held(value) >= least


def test_what_a_container_holds_counts() -> None:
    parts = [{"type": "text", "text": "is it soft?"}, {"type": "touch", "touch": torch.zeros(10)}]
    assert held(parts) == 3 * OBJECT + held("text") + held("is it soft?") + held("touch") + held(torch.zeros(10))
