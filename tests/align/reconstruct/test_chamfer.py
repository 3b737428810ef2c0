"""Chamfer distance against loops, its gradient against finite differences, and a scale that fits clouds."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pairalign.align.reconstruct import build_decoder, chamfer_distance, chamfer_error
from pairalign.align.reconstruct import chamfer as chamfer_module
from pairalign.align.reconstruct.chamfer import ChamferDecoder
from pairalign.core.errors import ConfigError, SignalError
from pairalign.core.types import Signal

CLOUD = Signal("points", (100, 3), unit="m", axes=("point", "coordinate"))


def slow_chamfer(x: list, y: list) -> float:
    def one_way(these: list, those: list) -> float:
        total = 0.0
        for p in these:
            total += min(sum((a - b) ** 2 for a, b in zip(p, q, strict=True)) for q in those)
        return total / len(these)

    return one_way(x, y) + one_way(y, x)


def clouds(batch: int, points: int, seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(batch, points, 3, dtype=dtype, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=15, deadline=None)
@given(batch=st.integers(1, 4), p=st.integers(1, 9), q=st.integers(1, 9), offset=st.sampled_from([0.0, 1e4]))
def test_distance_equals_the_slow_oracle(batch, p, q, offset):
    x, y = clouds(batch, p, 0) + offset, clouds(batch, q, 1) + offset
    expected = [slow_chamfer(a, b) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    assert chamfer_distance(x, y).tolist() == pytest.approx(expected, rel=1e-6)


def test_neighbours_do_not_depend_on_the_block(monkeypatch):
    x, y = clouds(5, 20, 0), clouds(5, 30, 1)
    whole = chamfer_distance(x, y)
    monkeypatch.setattr(chamfer_module, "_BLOCK", 1)
    assert torch.equal(chamfer_distance(x, y), whole)


def test_gradient_equals_finite_differences():
    x, y = clouds(2, 5, 0).requires_grad_(), clouds(2, 7, 1).requires_grad_()
    assert torch.autograd.gradcheck(chamfer_distance, (x, y))


def test_far_from_the_origin_single_precision_still_finds_the_neighbours():
    x, y = clouds(3, 40, 0, torch.float32), clouds(3, 50, 1, torch.float32)
    torch.testing.assert_close(chamfer_distance(x + 1000, y + 1000), chamfer_distance(x, y), rtol=1e-2, atol=1e-3)


def test_error_is_half_of_that_between_different_clouds():
    target = clouds(6, 50, 0)
    pairs = [slow_chamfer(target[i].tolist(), target[i - 1].tolist()) for i in range(6)]
    predicted = clouds(6, 40, 1)
    mine = [slow_chamfer(p.tolist(), t.tolist()) for p, t in zip(predicted, target, strict=True)]
    assert chamfer_error(predicted, target).item() == pytest.approx(2 * sum(mine) / sum(pairs), rel=1e-9)
    assert chamfer_error(target, target).item() == pytest.approx(0.0, abs=1e-9)


def test_a_cloud_of_any_size_and_unit_starts_near_one_to_a_few():
    torch.manual_seed(0)
    stretch = torch.rand(64, 1, 3) + 0.2
    for unit in (1e-3, 1.0, 1e3):
        decoder = build_decoder("chamfer", CLOUD, latent=8)
        score = decoder.error(torch.zeros(64, 8), unit * (clouds(64, 100, 2).float() * stretch + 5)).item()
        assert 0.5 < score < 5


def test_shapes_of_prediction_and_target():
    decoder = ChamferDecoder(Signal("points", (None, 6), axes=("point", "value")), latent=4)
    assert decoder(torch.randn(2, 4)).shape == (2, 256, 3)
    assert decoder.target(torch.randn(2, 2048, 6)).shape == (2, 512, 3)
    assert decoder.target(torch.randn(2, 30, 6)).shape == (2, 30, 3)


def test_a_latent_that_holds_the_shape_is_learned():
    torch.manual_seed(0)
    size = torch.rand(24, 3) + 0.1
    points = torch.nn.functional.normalize(torch.randn(24, 60, 3), dim=2) * size[:, None]
    decoder = ChamferDecoder(CLOUD, latent=3)
    optimizer = torch.optim.Adam(decoder.parameters(), lr=3e-3)
    for _ in range(80):
        optimizer.zero_grad()
        decoder.error(size, points).backward()
        optimizer.step()
    decoder.eval()
    right, wrong = decoder.error(size, points), decoder.error(size.roll(1, 0), points)
    assert right.item() < 0.5
    assert wrong.item() > 2 * right.item()


def test_bad_input():
    with pytest.raises(SignalError, match=r"\(2, 0, 3\) and \(2, 4, 3\)"):
        chamfer_distance(torch.zeros(2, 0, 3), torch.zeros(2, 4, 3))
    with pytest.raises(ConfigError, match=r"needs points .* shape \(2,\)"):
        build_decoder("chamfer", Signal("points", (2,)), latent=4)
