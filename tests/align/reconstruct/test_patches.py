"""Patches: the error against loops, pooling and shape for every layout, and learning from the latent."""

from __future__ import annotations

import pytest
import torch

from pairalign.align.reconstruct import build_decoder, patch_error
from pairalign.align.reconstruct.patches import PatchDecoder, patch_detail
from pairalign.core.errors import ConfigError
from pairalign.core.types import Signal

LAYOUTS = [
    Signal("image", (3, 48, 48), axes=("channel", "height", "width")),
    Signal("image", (20, 28, 2), axes=("height", "width", "channel")),
    Signal("image", (4, 3, 16, 24), axes=("frame", "channel", "height", "width")),
    Signal("image", (5, 6)),
    Signal("image", (1, 60, 224)),
    Signal("series", (6, 203), rate=100.0, axes=("channel", "time")),
    Signal("series", (203, 6), rate=100.0, axes=("time", "channel")),
    Signal("series", (37,), rate=100.0),
]


def slow_patch_error(predicted: list[list[float]], target: list[list[float]]) -> float:
    """Sum of squared errors over sum of unbiased variances, entry by entry."""
    rows, entries = len(target), len(target[0])
    error = variance = 0.0
    for e in range(entries):
        column = [row[e] for row in target]
        mean = sum(column) / rows
        variance += sum((value - mean) ** 2 for value in column) / (rows - 1)
        error += sum((p[e] - t) ** 2 for p, t in zip(predicted, column, strict=True)) / rows
    return error / variance


def test_error_equals_the_slow_oracle():
    random = torch.Generator().manual_seed(0)
    predicted, target = (torch.randn(7, 2, 3, 4, dtype=torch.float64, generator=random) for _ in range(2))
    expected = slow_patch_error(predicted.flatten(1).tolist(), target.flatten(1).tolist())
    assert patch_error(predicted, target).item() == pytest.approx(expected, rel=1e-12)
    assert torch.autograd.gradcheck(lambda p: patch_error(p, target), predicted.requires_grad_())


def test_the_mean_scores_one_whatever_the_unit():
    target = 1e5 + 1e3 * torch.randn(2000, 3, 8, generator=torch.Generator().manual_seed(0))
    assert patch_error(target.mean(0).expand_as(target), target).item() == pytest.approx(1.0, abs=0.01)
    assert patch_error(target, target).item() == 0


@pytest.mark.parametrize("signal", LAYOUTS, ids=str)
def test_prediction_has_the_shape_of_the_signal(signal):
    decoder = build_decoder("patches", signal, latent=5)
    assert decoder(torch.randn(3, 5)).shape == (3, *signal.shape)
    assert decoder(torch.randn(1, 5)).shape == (1, *signal.shape)


@pytest.mark.parametrize("signal", [s for s in LAYOUTS if max(s.shape) <= 24 or s.kind == "series"], ids=str)
def test_target_and_restore_undo_each_other(signal):
    decoder = PatchDecoder(signal, latent=5)
    batch = torch.randn(3, *signal.shape)
    assert torch.equal(decoder.restore(decoder.target(batch)), batch)


def test_patches_lie_where_they_belong():
    """Each patch of the grid is written by one position: moving one position changes one square of pixels."""
    decoder = PatchDecoder(Signal("image", (2, 12, 20)), latent=3)
    latent = torch.randn(1, 3)
    before = decoder.deviation(latent)
    with torch.no_grad():
        decoder.position[1 * 5 + 2] += 1.0  # second row, third column of a 3 x 5 grid
    moved = (decoder.deviation(latent) != before).any(1)[0]
    expected = torch.zeros(12, 20, dtype=torch.bool)
    expected[4:8, 8:12] = True
    assert torch.equal(moved[: 12 * 20].view(12, 20), expected)
    assert moved[12 * 20 :].nonzero().tolist() == [[1 * 5 + 2]], "the detail of the same patch"


def test_large_images_are_compared_at_24_pixels():
    decoder = PatchDecoder(Signal("image", (3, 96, 48)), latent=4)
    batch = torch.rand(2, 3, 96, 48)
    expected = batch.unflatten(2, (24, 4)).unflatten(4, (24, 2)).mean((3, 5))
    pixels, _ = decoder.target(batch).split(decoder.parts, dim=2)
    torch.testing.assert_close(pixels.unflatten(2, (24, 24)), expected)


def test_detail_is_the_deviation_inside_each_patch_of_the_full_picture():
    image = 1e3 + torch.rand(2, 3, 96, 48, generator=torch.Generator().manual_seed(0))
    expected = torch.zeros(2, 3, 6, 6)
    for row in range(6):
        for column in range(6):
            patch = image[..., 16 * row : 16 * row + 16, 8 * column : 8 * column + 8]
            expected[..., row, column] = patch.flatten(2).std(2, correction=0)
    torch.testing.assert_close(patch_detail(image, (6, 6)), expected, rtol=1e-3, atol=0)
    decoder = PatchDecoder(Signal("image", (3, 96, 48)), latent=4)
    _, detail = decoder.target(image).split(decoder.parts, dim=2)
    assert torch.equal(detail, patch_detail(image, (6, 6)).flatten(2))


def test_the_strength_of_a_texture_is_learned_though_its_phase_cannot_be():
    """Noise of a strength that the latent knows: pixels can only be guessed as grey, their detail not."""
    torch.manual_seed(0)
    strength = torch.rand(64, 1)
    signal = Signal("series", (1, 64), rate=100.0)
    decoder = PatchDecoder(signal, latent=1)
    optimizer = torch.optim.Adam(decoder.parameters(), lr=3e-3)

    def noise() -> torch.Tensor:
        return strength[:, :, None] * torch.randn(64, 1, 64)

    for _ in range(150):
        optimizer.zero_grad()
        decoder.error(strength, noise()).backward()
        optimizer.step()
    decoder.eval()
    assert decoder.error(strength, noise()).item() < 0.75
    assert decoder.error(strength[torch.randperm(64)], noise()).item() > 1.0


def test_a_latent_that_holds_the_image_is_learned():
    torch.manual_seed(0)
    factors = torch.rand(64, 2)
    image = factors[:, 0, None, None, None] * torch.rand(1, 16, 16) + factors[:, 1, None, None, None] * 3
    decoder = PatchDecoder(Signal("image", (1, 16, 16)), latent=2)
    optimizer = torch.optim.Adam(decoder.parameters(), lr=3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        decoder.error(factors, image).backward()
        optimizer.step()
    decoder.eval()
    assert decoder.error(factors, image).item() < 0.02
    assert decoder.error(factors[torch.randperm(64)], image).item() > 1.0, "another sample's latent is no help"
    torch.testing.assert_close(decoder(factors), image, atol=0.5, rtol=0)


def test_free_sizes_are_refused():
    with pytest.raises(ConfigError, match=r"needs fixed sizes, the signal has shape \(6, None\)"):
        build_decoder("patches", Signal("series", (6, None), rate=10.0), latent=4)
