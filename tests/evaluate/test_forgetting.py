"""Learning, forgetting, drift and the answer-bias probe against sums written out."""

from __future__ import annotations

import pytest
import torch

from pairalign.core.errors import DataError
from pairalign.evaluate.forgetting import answer_mass, change, drift, exact_answers


def made() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    base, now = (torch.randn(2, 3, 5, generator=draw) for _ in range(2))
    return base, now, torch.tensor([[-100, 2, 1], [0, 3, 4]])


def test_change_is_in_points_and_names_the_worst() -> None:
    found = change({"a": 0.9, "b": 0.5}, {"a": 0.6, "b": 0.7})
    assert found.points == pytest.approx(-5)
    assert found.worst == "a"
    assert found.worst_points == pytest.approx(-30)
    with pytest.raises(DataError, match=r"measure the same tasks"):
        change({"a": 1.0}, {"b": 1.0})


def test_an_answer_is_exact_where_every_token_would_be_said() -> None:
    labels = torch.tensor([[-100, 2, 1], [0, 3, 4]])
    logits = torch.full((2, 3, 5), -1.0)
    for row, column, token in ((0, 1, 2), (0, 2, 1), (1, 0, 0), (1, 1, 3), (1, 2, 4)):
        logits[row, column, token] = 1
    assert exact_answers(logits, labels).tolist() == [True, True]
    logits[1, 1, 0] = 2
    assert exact_answers(logits, labels).tolist() == [True, False]


def test_mass_and_drift_are_means_over_the_answers_places() -> None:
    base, now, labels = made()
    mass, moved = answer_mass(now, labels, torch.tensor([1, 3])), drift(base, now, labels >= 0)
    for row in range(2):
        masses, drifts = [], []
        for column in range(3):
            if labels[row, column] >= 0:
                p, q = base[row, column].softmax(-1), now[row, column].softmax(-1)
                masses.append(float(q[1] + q[3]))
                drifts.append(float((p * (p.log() - q.log())).sum()))
        assert float(mass[row]) == pytest.approx(sum(masses) / len(masses), rel=1e-5)
        assert float(moved[row]) == pytest.approx(sum(drifts) / len(drifts), rel=1e-4)
    assert drift(base, base, labels >= 0).abs().max() < 1e-6
