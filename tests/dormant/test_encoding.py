"""Both codes of places come back exactly, and the shorter one is kept."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from pairalign.dormant.selection.encoding import _encode_bits, _encode_gaps, decode_places, encode_places


@given(st.sets(st.integers(0, 1999)), st.integers(2000, 2009))
def test_places_come_back(chosen: set[int], size: int) -> None:
    flat = torch.zeros(size, dtype=torch.bool)
    flat[sorted(chosen)] = True
    for code, stored in (encode_places(flat), ("bits", _encode_bits(flat)), ("gaps", _encode_gaps(flat))):
        assert stored.dtype == torch.uint8
        assert decode_places(code, stored).tolist() == sorted(chosen)


@pytest.mark.parametrize("gap", [0, 1, 253, 254, 255, 256, 509, 510, 511, 765])
def test_gaps_of_every_length_come_back(gap: int) -> None:
    flat = torch.zeros(2 * gap + 7, dtype=torch.bool)
    flat[[gap, 2 * gap + 1, 2 * gap + 2]] = True
    assert decode_places("gaps", _encode_gaps(flat)).tolist() == [gap, 2 * gap + 1, 2 * gap + 2]


@pytest.mark.parametrize(
    ("density", "code", "size"), [(0.3, "bits", 0.125), (0.1, "gaps", 0.1), (0.001, "gaps", 0.005)]
)
def test_the_shorter_code_is_kept(density: float, code: str, size: float) -> None:
    chosen = torch.rand(300, 1000, generator=torch.Generator().manual_seed(0)) < density
    found, stored = encode_places(chosen)
    assert found == code
    assert stored.numel() <= 1.02 * size * chosen.numel()
