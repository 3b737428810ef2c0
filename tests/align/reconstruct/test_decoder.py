"""One list of promises over every decoder."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pairalign.align.reconstruct import KINDS, build_decoder
from pairalign.align.reconstruct.decoder import Decoder, relative
from pairalign.core.errors import SignalError
from pairalign.core.types import Signal

LATENT = 6
SIGNALS = {
    "patches": Signal("image", (3, 20, 24), axes=("channel", "height", "width")),
    "chamfer": Signal("points", (40, 3)),
    "features": Signal("text", (5,), dtype="int64"),
    "tokens": Signal("text", (5,), dtype="int64", range=(0, 11)),
    "values": Signal("vector", (4,)),
}


def build(kind: str) -> Decoder:
    torch.manual_seed(0)
    return build_decoder(kind, SIGNALS[kind], LATENT, features=9 if kind == "features" else None)


def batch(kind: str, rows: int, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    if kind == "tokens":
        return torch.randint(1, 12, (rows, 5), generator=random)
    shape = (9,) if kind == "features" else SIGNALS[kind].shape
    return 3 + 2 * torch.randn(rows, *shape, generator=random)


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param


def test_it_knows_its_name(kind):
    assert build(kind).kind == kind


@pytest.mark.parametrize("rows", [1, 2, 17])
def test_any_batch_size_gives_a_finite_scalar_and_gradients_everywhere(kind, rows):
    decoder = build(kind)
    latent = torch.randn(rows, LATENT, requires_grad=True)
    error = decoder.error(latent, batch(kind, rows))
    error.backward()
    assert error.shape == ()
    assert error.isfinite()
    assert error > 0
    for name, value in [("latent", latent), *decoder.named_parameters()]:
        assert value.grad is not None, name
        assert value.grad.isfinite().all(), name
        assert value.grad.abs().sum() > 0, name


def test_two_calls_before_one_backward(kind):
    """A modality on two edges is decoded twice a step; its running statistics must not disturb the graph."""
    decoder = build(kind)
    latent = torch.randn(8, LATENT)
    (decoder.error(latent, batch(kind, 8)) + decoder.error(latent, batch(kind, 8, seed=1))).backward()


def test_evaluation_repeats_and_learns_no_statistics(kind):
    decoder = build(kind)
    latent = torch.randn(8, LATENT)
    decoder.error(latent, batch(kind, 8))
    decoder.eval()
    before = {name: value.clone() for name, value in decoder.state_dict().items()}
    scores = [decoder.error(latent, batch(kind, 8, seed=2)).item() for _ in range(2)]
    assert scores[0] == scores[1]
    assert all(torch.equal(value, before[name]) for name, value in decoder.state_dict().items())


def test_save_and_load_is_bit_equal(kind):
    decoder, other = build(kind), build(kind)
    latent = torch.randn(8, LATENT)
    for seed in range(3):
        decoder.error(latent, batch(kind, 8, seed))
    other.load_state_dict(decoder.state_dict())
    assert torch.equal(decoder.eval()(latent), other.eval()(latent))
    assert decoder.error(latent, batch(kind, 8)).item() == other.error(latent, batch(kind, 8)).item()


def test_a_silent_decoder_scores_about_one(kind):
    """The network says nothing: what is left is the mean of the targets. A cloud has no mean: see chamfer."""
    decoder = build(kind)
    with torch.no_grad():
        for module in decoder.modules():
            if isinstance(module, torch.nn.Linear):
                module.weight.zero_()
                module.bias.zero_()
    score = decoder.error(torch.zeros(500, LATENT), batch(kind, 500)).item()
    assert 0.9 < score < (4.0 if kind == "chamfer" else 1.1)


def test_a_spread_in_use_is_not_changed_by_the_next_batch():
    decoder = build("values")
    first = decoder.observe(batch("values", 8))
    kept = first.clone()
    decoder.observe(100 * batch("values", 8, seed=1))
    assert torch.equal(first, kept)


def test_running_statistics_are_the_plain_mean_at_first():
    decoder = build("values")
    batches = [batch("values", 6, seed) for seed in range(5)]
    for target in batches:
        decoder.error(torch.zeros(6, LATENT), target)
    torch.testing.assert_close(decoder.mean, torch.stack([b.mean(0) for b in batches]).mean(0))
    torch.testing.assert_close(decoder.spread, torch.stack([b.var(0) for b in batches]).mean(0))


def test_a_batch_of_one_teaches_no_statistics(kind):
    decoder = build(kind)
    decoder.error(torch.zeros(1, LATENT), batch(kind, 1))
    assert decoder.batches == 0
    assert not decoder.mean.any()


def test_targets_that_never_vary_score_zero():
    decoder = build("patches")
    assert decoder.error(torch.randn(4, LATENT), torch.full((4, 3, 20, 24), 7.0)).item() == 0


def test_relative_leaves_out_what_has_no_spread():
    assert relative(torch.tensor([2.0, 5.0]), torch.tensor([4.0, 0.0])).item() == 0.5
    assert relative(torch.tensor([2.0, 5.0]), torch.tensor([4.0, 1e-9]), torch.tensor([1.0, 1e4])).item() == 0.5
    assert relative(torch.tensor(3.0), torch.tensor(0.0)).item() == 0


def test_a_decoder_without_its_parts_says_which():
    with pytest.raises(SignalError, match=r"Decoder has no deviation\(\)"):
        Decoder((2,))(torch.zeros(1, 2))
    with pytest.raises(SignalError, match=r"Decoder has no score\(\)"):
        Decoder((2,)).score(torch.zeros(1, 2), torch.zeros(1, 2), torch.ones(()))
