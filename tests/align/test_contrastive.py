"""The contrastive losses against loops in float64 and open_clip, and the promises about false negatives."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pairalign.align.contrastive import LogitScale, info_nce, sigmoid_loss
from pairalign.core.errors import ConfigError, ContrastiveError

MODES = ("mask", "positive", "keep")


def unit(rows: int, columns: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    values = torch.randn(rows, columns, dtype=dtype, generator=torch.Generator().manual_seed(seed))
    return F.normalize(values, dim=1).requires_grad_()


def number(value: float, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.tensor(value, dtype=dtype, requires_grad=True)


def same(ids_a: list[int] | None, ids_b: list[int] | None, i: int, j: int) -> bool:
    """Whether i and j, not the same sample, show the same content on either side."""
    return i != j and any(ids is not None and ids[i] == ids[j] for ids in (ids_a, ids_b))


def dot(x: list[float], y: list[float]) -> float:
    return sum(p * q for p, q in zip(x, y, strict=True))


def slow_info_nce(a: Tensor, b: Tensor, scale: float, ids_a: list | None, ids_b: list | None, mode: str) -> float:
    """InfoNCE by the book: one row at a time, one direction at a time, plain Python numbers."""
    n, total = len(a), 0.0
    for x, y in ((a, b), (b, a)):
        for i in range(n):
            scores = [scale * sum(float(p) * float(q) for p, q in zip(x[i], y[j], strict=True)) for j in range(n)]
            false = [j for j in range(n) if same(ids_a, ids_b, i, j)]
            kept = [j for j in range(n) if not (mode == "mask" and j in false)]
            positives = [i, *false] if mode == "positive" else [i]
            log_sum = math.log(sum(math.exp(scores[j]) for j in kept))
            total += -sum(scores[j] - log_sum for j in positives) / len(positives)
    return total / (2 * n)


def slow_sigmoid(
    a: list, b: list, scale: float, bias: float, ids_a: list | None, ids_b: list | None, mode: str
) -> float:
    n, total = len(a), 0.0
    for i in range(n):
        for j in range(n):
            false = same(ids_a, ids_b, i, j)
            if false and mode == "mask":
                continue
            label = 1 if i == j or (false and mode == "positive") else -1
            logit = scale * dot(a[i], b[j]) + bias
            total += math.log(1 + math.exp(-label * logit))
    return total / n


IDS = st.one_of(st.none(), st.lists(st.integers(0, 4), min_size=7, max_size=7))


@settings(max_examples=25, deadline=None)
@given(ids_a=IDS, ids_b=IDS, mode=st.sampled_from(MODES), chunk=st.integers(1, 9), scale=st.floats(0.5, 50))
def test_losses_equal_the_slow_oracles(ids_a, ids_b, mode, chunk, scale):
    a, b = unit(7, 3, 0), unit(7, 3, 1)
    options = {
        "ids_a": None if ids_a is None else torch.tensor(ids_a),
        "ids_b": None if ids_b is None else torch.tensor(ids_b),
        "false_negatives": mode,
        "chunk": chunk,
    }
    assert info_nce(a, b, scale, **options).item() == pytest.approx(
        slow_info_nce(a.tolist(), b.tolist(), scale, ids_a, ids_b, mode), rel=1e-9, abs=1e-9
    )
    assert sigmoid_loss(a, b, scale, -3.0, **options).item() == pytest.approx(
        slow_sigmoid(a.tolist(), b.tolist(), scale, -3.0, ids_a, ids_b, mode), rel=1e-9, abs=1e-9
    )


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(2, 40), chunk=st.integers(1, 50), mode=st.sampled_from(MODES))
def test_chunk_changes_neither_value_nor_gradient(rows, chunk, mode):
    ids = torch.arange(rows) % 5
    for loss in (info_nce, lambda a, b, s, **k: sigmoid_loss(a, b, s, -2.0, **k)):
        grads = []
        for size in (chunk, rows):
            a, b, scale = unit(rows, 4, 0), unit(rows, 4, 1), number(9.0)
            value = loss(a, b, scale, ids_a=ids, false_negatives=mode, chunk=size)
            grads.append((value.detach(), *torch.autograd.grad(value, (a, b, scale))))
        for one, other in zip(*grads, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["ClipLoss", "SigLipLoss"])
def test_values_and_gradients_equal_open_clip(name):
    theirs = getattr(pytest.importorskip("open_clip.loss"), name)()
    results = []
    for ours in (True, False):
        a, b = unit(96, 32, 0, torch.float32), unit(96, 32, 1, torch.float32)
        scale, bias = number(14.3, torch.float32), number(-4.0, torch.float32)
        leaves = (a, b, scale) if name == "ClipLoss" else (a, b, scale, bias)
        mine = info_nce if name == "ClipLoss" else sigmoid_loss
        value = mine(*leaves, chunk=40) if ours else theirs(*leaves)
        results.append((value.detach(), *torch.autograd.grad(value, leaves)))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_masked_pair_leaves_the_denominator_for_good():
    """A false negative as similar as the positive itself: it must change nothing and get no gradient."""
    a, b = torch.eye(4, dtype=torch.float64), torch.eye(4, dtype=torch.float64)
    b[1] = b[0]  # sample 1 shows the caption of sample 0
    b.requires_grad_()
    ids = torch.tensor([0, 0, 1, 2])
    rows = [[0, 2, 3], [1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3]]
    logits = 20 * a @ b.detach().T
    by_hand = [F.cross_entropy(logits[i, kept], torch.tensor(kept.index(i))) for i, kept in enumerate(rows)]
    back = [F.cross_entropy(logits[kept, i], torch.tensor(kept.index(i))) for i, kept in enumerate(rows)]
    value = info_nce(a, b, 20.0, ids_b=ids)
    assert value.item() == pytest.approx(float(sum(by_hand) + sum(back)) / 8, rel=1e-12)
    pushed = torch.autograd.grad(value, b)[0] @ a.T  # slope of the loss along a_j at b_i
    kept = torch.autograd.grad(info_nce(a, b, 20.0, ids_b=ids, false_negatives="keep"), b)[0] @ a.T
    assert pushed[1, 0] == 0, "b_1 must not be pushed from a_0, whose caption it shares"
    assert kept[1, 0] > 0.01, "plain CLIP does push it"


def test_a_batch_of_equal_captions_teaches_nothing_instead_of_nan():
    a, b = unit(5, 3, 0), unit(5, 3, 1)
    value = info_nce(a, b, 10.0, ids_a=torch.zeros(5, dtype=torch.int64))
    grads = torch.autograd.grad(value, (a, b))
    assert value.item() == pytest.approx(0.0, abs=1e-12)
    assert all(float(grad.abs().max()) < 1e-12 for grad in grads)


def test_order_of_the_pairs_does_not_matter():
    a, b, ids = unit(20, 6, 0), unit(20, 6, 1), torch.arange(20) % 7
    order = torch.randperm(20, generator=torch.Generator().manual_seed(2))
    for mode in MODES:
        one = info_nce(a, b, 8.0, ids_a=ids, false_negatives=mode, chunk=6)
        other = info_nce(a[order], b[order], 8.0, ids_a=ids[order], false_negatives=mode, chunk=6)
        torch.testing.assert_close(one, other)
        torch.testing.assert_close(one, info_nce(b, a, 8.0, ids_b=ids, false_negatives=mode, chunk=6))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_autocast_are_computed_in_full(dtype):
    a, b = unit(32, 16, 0, torch.float32), unit(32, 16, 1, torch.float32)
    half_a, half_b = a.detach().to(dtype).requires_grad_(), b.detach().to(dtype)
    exact = info_nce(half_a.detach().float(), half_b.float(), 100.0)
    value = info_nce(half_a, half_b, 100.0)
    torch.testing.assert_close(value, exact, rtol=1e-6, atol=1e-6)
    assert torch.autograd.grad(value, half_a)[0].dtype == dtype
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = info_nce(a, b, 100.0)
        grad = torch.autograd.grad(value, a)[0]
    outside = info_nce(a, b, 100.0)
    torch.testing.assert_close(value, outside)
    torch.testing.assert_close(grad, torch.autograd.grad(outside, a)[0])


@pytest.mark.parametrize("loss", [info_nce, lambda a, b, s, **k: sigmoid_loss(a, b, s, 0.0, **k)])
class TestBadInput:
    def test_batch_of_one(self, loss):
        with pytest.raises(ContrastiveError, match=r"batch of one has no negatives.*drop_last"):
            loss(unit(1, 4, 0), unit(1, 4, 1), 10.0)

    def test_shapes_that_do_not_fit(self, loss):
        with pytest.raises(ContrastiveError, match=r"a \(4, 3\).*b \(4, 2\)"):
            loss(unit(4, 3, 0), unit(4, 2, 0), 10.0)

    def test_ids_of_another_length(self, loss):
        with pytest.raises(ContrastiveError, match=r"ids_b has shape \(3,\).*give 4"):
            loss(unit(4, 3, 0), unit(4, 3, 1), 10.0, ids_b=torch.arange(3))

    def test_misspelt_mode(self, loss):
        with pytest.raises(ConfigError, match="Did you mean 'mask'"):
            loss(unit(4, 3, 0), unit(4, 3, 1), 10.0, false_negatives="masked")

    def test_chunk_of_zero(self, loss):
        with pytest.raises(ConfigError, match="chunk=0"):
            loss(unit(4, 3, 0), unit(4, 3, 1), 10.0, chunk=0)

    def test_a_scale_for_each_sample(self, loss):
        with pytest.raises(ContrastiveError, match=r"scale has shape \(4,\)"):
            loss(unit(4, 3, 0), unit(4, 3, 1), torch.ones(4))


class TestLogitScale:
    def test_starts_at_clips_value_and_learns(self):
        scale = LogitScale()
        assert float(scale()) == pytest.approx(1 / 0.07, rel=1e-6)
        scale().backward()
        assert float(scale.log_scale.grad) == pytest.approx(1 / 0.07, rel=1e-6)

    @pytest.mark.parametrize(("beyond", "bound", "way_back"), [(3.0, 100.0, 1.0), (-4.0, 1.0, -1.0)])
    def test_is_clamped_and_comes_back(self, beyond, bound, way_back):
        scale = LogitScale()
        with torch.no_grad():
            scale.log_scale += beyond
        assert float(scale()) == pytest.approx(bound, rel=1e-6)
        (-way_back * scale()).backward()
        assert float(scale.log_scale.grad) == 0, "no further out"
        (way_back * scale()).backward()
        assert way_back * float(scale.log_scale.grad) > 0, "descent leads back in"

    def test_bounds_that_exclude_the_start(self):
        with pytest.raises(ConfigError, match=r"init=200, minimum=1.0, maximum=100.0"):
            LogitScale(200)
