"""Gates: scale-free, one per undirected edge, multiplied along a path."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from pairalign.align.contrastive import info_nce
from pairalign.align.partial import EdgeGates, gated_cosine, gated_euclidean
from pairalign.core.errors import GraphError

EDGES = [("image", "text"), ("touch", "image"), ("text", "points")]


def random_gates(dim: int = 6, scale: float = 2.0) -> EdgeGates:
    gates = EdgeGates(EDGES, dim)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for logits in gates.logits.values():
            logits.copy_(scale * torch.randn(dim, generator=random))
    return gates


def test_a_gate_starts_open_and_never_loses_its_maximum():
    assert torch.equal(EdgeGates(EDGES, 5)(("image", "text")), torch.ones(5))
    for scale in (1.0, 30.0):
        for edge in EDGES:
            gate = random_gates(scale=scale)(edge)
            assert gate.max() == 1
            assert gate.min() >= 0


def test_gate_is_the_stretched_sigmoid_over_its_largest():
    gates = random_gates(dim=40)
    logits = gates.logits["image~text"].tolist()
    raw = [max(0.0, 1.2 / (1 + math.exp(-logit)) - 0.1) for logit in logits]
    expected = [value / max(raw) for value in raw]
    torch.testing.assert_close(gates(("image", "text")), torch.tensor(expected))
    assert min(expected) == 0, "the case of a closed gate belongs to this test"


def test_every_open_gate_can_still_move():
    gates = random_gates(dim=40, scale=4.0)
    gate = gates(("image", "text"))
    (slope,) = torch.autograd.grad((gate * torch.arange(40)).sum(), gates.logits["image~text"])
    assert torch.equal(slope != 0, gate.detach() > 0)


def test_all_closed_gates_are_finite():
    gates = random_gates()
    with torch.no_grad():
        gates.logits["image~text"].sub_(1000.0)
    gate = gates(("image", "text"))
    gate.sum().backward()
    assert gate.max() == 1
    assert gates.logits["image~text"].grad.isfinite().all()


def test_an_edge_has_no_direction():
    gates = EdgeGates([*EDGES, ("text", "image")], 4)
    assert len(gates.logits) == 3
    assert torch.equal(gates(("image", "touch")), gates(("touch", "image")))


def test_path_is_the_product_and_union_the_maximum():
    gates = random_gates()
    it, ti, tp = (gates(edge) for edge in EDGES)
    torch.testing.assert_close(gates.path([("touch", "image"), ("image", "text"), ("text", "points")]), ti * it * tp)
    assert torch.equal(gates.path([]), torch.ones(6))
    torch.testing.assert_close(gates.union("text"), torch.maximum(it, tp))
    torch.testing.assert_close(gates.union("touch"), ti)


def test_penalty_is_the_mean_and_acts_on_ratios_alone():
    gates = random_gates(scale=0.5)
    edge = ("image", "text")
    torch.testing.assert_close(gates.penalty(edge), gates(edge).mean())
    (slope,) = torch.autograd.grad(gates.penalty(edge), gates.logits["image~text"])
    largest = gates.logits["image~text"].argmax()
    assert slope[largest] < 0, "descent opens the largest further, it does not shrink them all"
    assert (slope[torch.arange(6) != largest] > 0).all()


def test_active_lists_the_open_dimensions():
    gates = EdgeGates([("a", "b")], 3)
    with torch.no_grad():
        gates.logits["a~b"].copy_(torch.tensor([4.0, -4.0, 0.2]))
    assert gates.active(("b", "a")) == [0, 2]
    assert gates.active(("b", "a"), threshold=0.9) == [0]


def test_disabled_gates_have_no_parameters():
    gates = EdgeGates(EDGES, 4, enabled=False)
    assert not list(gates.parameters())
    assert torch.equal(gates.path(EDGES), torch.ones(4))
    assert torch.equal(gates.union("text"), torch.ones(4))
    assert gates.active(EDGES[0]) == [0, 1, 2, 3]


def test_unknown_names_get_a_hint():
    gates = EdgeGates(EDGES, 4)
    with pytest.raises(GraphError, match=r"edge 'image-txt' has no gate. Did you mean 'image-text'"):
        gates(("txt", "image"))
    with pytest.raises(GraphError, match=r"modality 'tuch' is on no edge. Did you mean 'touch'"):
        gates.union("tuch")


def test_gated_cosine_is_the_cosine_of_the_gated_vectors():
    random = torch.Generator().manual_seed(0)
    a, b = (3 * torch.randn(8, 5, dtype=torch.float64, generator=random) for _ in range(2))
    w = torch.rand(5, dtype=torch.float64, generator=random)
    x, y = gated_cosine(w, a, b)
    for i in range(8):
        for j in range(8):
            expected = F.cosine_similarity(w * a[i], w * b[j], dim=0)
            torch.testing.assert_close(x[i] @ y[j], expected, rtol=1e-6, atol=1e-6)


def test_gated_euclidean_gives_minus_the_squared_distance():
    random = torch.Generator().manual_seed(0)
    a, b = (3 * torch.randn(8, 5, dtype=torch.float64, generator=random) for _ in range(2))
    w = torch.rand(5, dtype=torch.float64, generator=random)
    x, y = gated_euclidean(w, a, b)
    torch.testing.assert_close(x @ y.T, -torch.cdist(w * a, w * b).square())


def test_gated_cosine_of_zero_is_zero_with_a_finite_gradient():
    a = torch.zeros(2, 4, requires_grad=True)
    x, _ = gated_cosine(torch.ones(4), a, a)
    x.sum().backward()
    assert torch.equal(x, torch.zeros(2, 4))
    assert a.grad.isfinite().all()


def test_contrast_and_penalty_close_what_the_two_sides_do_not_share():
    """Dimensions 0-3 agree, 4-7 are private noise: the gate has to find out which."""
    random = torch.Generator().manual_seed(0)
    gates = EdgeGates([("a", "b")], 8)
    optimizer = torch.optim.Adam(gates.parameters(), lr=0.1)
    for _ in range(150):
        a, b = (torch.randn(64, 8, generator=random) for _ in range(2))
        b[:, :4] = a[:, :4] + 0.1 * b[:, :4]
        x, y = gated_cosine(gates(("a", "b")), a, b)
        loss = info_nce(x, y, 10.0) + 0.1 * gates.penalty(("a", "b"))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert gates.active(("a", "b")) == [0, 1, 2, 3]
