"""The hand-written backward passes against finite differences, and no full matrix in memory."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pairalign.align.contrastive import info_nce, sigmoid_loss
from pairalign.align.streamed import Matches
from pairalign.core.errors import ContrastiveError


@pytest.mark.parametrize("mode", ["mask", "positive", "keep"])
@pytest.mark.parametrize("ids", [False, True])
def test_gradients_equal_finite_differences(mode, ids):
    random = torch.Generator().manual_seed(0)
    a, b = (torch.randn(9, 4, dtype=torch.float64, generator=random).requires_grad_() for _ in range(2))
    scale, bias = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (2.5, -1.0))
    options = {"false_negatives": mode, "chunk": 4}
    if ids:
        options |= {"ids_a": torch.tensor([0, 0, 1, 2, 3, 4, 5, 5, 5]), "ids_b": torch.arange(9) % 6}
    assert torch.autograd.gradcheck(lambda a, b, s: info_nce(a, b, s, **options), (a, b, scale))
    assert torch.autograd.gradcheck(lambda a, b, s, t: sigmoid_loss(a, b, s, t, **options), (a, b, scale, bias))


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that any operation returned."""

    entries = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self.entries = max(self.entries, leaf.numel())
        return out


@pytest.mark.parametrize("mode", ["mask", "positive", "keep"])
@pytest.mark.parametrize("sigmoid", [False, True])
def test_no_operation_returns_the_square_of_the_batch(mode, sigmoid):
    rows, chunk = 256, 16
    a, b = (F.normalize(torch.randn(rows, 8), dim=1).requires_grad_() for _ in range(2))
    options = {"ids_a": torch.arange(rows) // 2, "false_negatives": mode, "chunk": chunk}
    with Largest() as largest:
        loss = sigmoid_loss(a, b, 10.0, -5.0, **options) if sigmoid else info_nce(a, b, 10.0, **options)
        torch.autograd.backward(loss)
    assert largest.entries == chunk * rows
    assert a.grad is not None


def test_second_derivatives_are_refused_not_wrong():
    a, b = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3)
    for loss in (info_nce(a, b, 2.0), sigmoid_loss(a, b, 2.0, 0.0)):
        with pytest.raises(ContrastiveError, match="first derivatives only"):
            torch.autograd.grad(loss, a, create_graph=True)


def test_matches_of_gathered_rows_leave_out_the_own_partner():
    ids = torch.tensor([7, 8, 7, 9])
    block = Matches("mask", (ids[2:], None), (ids, None), offset=2).block(slice(0, 2))
    assert block.tolist() == [[True, False, False, False], [False, False, False, False]]
    assert Matches("keep", (ids, None), (ids, None)).block(slice(0, 2)) is None
    assert Matches("mask", (None, None), (None, None)).block(slice(0, 2)) is None
