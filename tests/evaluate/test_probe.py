"""Probes against slow oracles, and on data whose readable part is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pairalign.core.errors import DataError
from pairalign.evaluate import probe
from pairalign.evaluate.logistic import fit_logistic
from pairalign.evaluate.probe import linear_probe, r2_kernel, r2_linear, split_rows


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_probe_reads_a_linear_factor_and_not_a_missing_one() -> None:
    x = normal(0, 400, 10)
    seen = ["hard" if v > 0 else "soft" for v in (x[:, 3] + x[:, 1]).tolist()]
    unseen = ["hard" if v > 0 else "soft" for v in normal(1, 400).tolist()]
    good = linear_probe(x[:200], seen[:200], x[200:], seen[200:])
    bad = linear_probe(x[:200], unseen[:200], x[200:], unseen[200:])
    assert good.accuracy.value > 0.95
    assert good.accuracy.above_chance
    assert bad.class_mean.at_chance
    assert set(good.classes) == {"hard", "soft"}
    named = [good.classes[i] for i in good.predicted.tolist()]
    assert sum(a == b for a, b in zip(named, seen[200:], strict=True)) / 200 == good.accuracy.value


def test_chance_is_the_majority_and_the_class_mean_sees_through_it() -> None:
    y = [0] * 90 + [1] * 10
    found = linear_probe(torch.zeros(100, 3), y, torch.zeros(100, 3), y)
    assert found.accuracy.value == found.accuracy.chance == pytest.approx(0.9)
    assert found.class_mean.value == found.class_mean.chance == pytest.approx(0.5)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_logistic_fit_is_at_the_minimum_of_its_loss(classes: int) -> None:
    x, codes = normal(2, 60, 4).double(), torch.randint(classes, (60,), generator=torch.Generator().manual_seed(3))
    fit = fit_logistic(x, codes, 0.05)
    found = torch.from_numpy(np.vstack([fit.coef_.T, fit.intercept_]))
    weights = torch.cat([-found, found], 1) / 2 if classes == 2 else found

    def loss(w: Tensor) -> Tensor:
        return F.cross_entropy(x @ w[:-1] + w[-1], codes) + 0.025 * w[:-1].square().sum()

    assert torch.func.grad(loss)(weights).abs().max() < 1e-4
    assert all(loss(weights) < loss(weights + 0.05 * normal(s, 5, classes).double()) for s in range(5))


def test_the_penalty_is_that_of_the_best_held_out_fit_by_a_slow_loop() -> None:
    x = normal(30, 240, 12).double()
    codes = (x[:, 0] + 2 * normal(31, 240).double()).gt(0).long() + 2 * (x[:, 1] > 1).long()
    penalties = (1e-4, 1e-1, 1.0)
    found = linear_probe(x[:160], codes[:160], x[160:], codes[160:], penalties=penalties)
    mean, std = x[:160].mean(0), x[:160].std(0)
    seen, (fit, held) = (x[:160] - mean) / std, split_rows(160, 0.8, seed=0)
    losses = []
    for penalty in penalties:
        weights = torch.zeros(13, 4, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([weights], max_iter=500, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimizer.zero_grad()  # noqa: B023
            logits = seen[fit] @ weights[:-1] + weights[-1]  # noqa: B023
            loss = F.cross_entropy(logits, codes[fit]) + penalty / 2 * weights[:-1].square().sum()  # noqa: B023
            loss.backward()
            return loss

        optimizer.step(closure)
        final = weights.detach()
        losses.append(float(F.cross_entropy(seen[held] @ final[:-1] + final[-1], codes[held])))
    assert found.penalty == penalties[losses.index(min(losses))] == 0.1


def test_a_class_that_is_held_out_whole_chooses_nothing() -> None:
    x, groups = normal(32, 60, 3), [i // 20 for i in range(60)]
    found = linear_probe(x, groups, x, groups, train_groups=groups)  # every class one group
    assert found.penalty == max(probe.PENALTIES)
    assert set(found.classes) == {0, 1, 2}


def test_probe_ignores_scale_shift_and_row_order() -> None:
    x, y = normal(4, 120, 5), [i % 3 for i in range(120)]
    x[:, 0] += torch.tensor(y)
    a = linear_probe(x[:80], y[:80], x[80:], y[80:], penalties=(0.01,))
    z = x * torch.tensor([1000.0, 1e-3, 1, 1, 1]) + 50
    b = linear_probe(z[:80], y[:80], z[80:].flip(0), y[80:][::-1], penalties=(0.01,))
    assert torch.equal(a.predicted, b.predicted.flip(0))
    assert a.accuracy.value == b.accuracy.value


def test_an_unseen_test_label_counts_as_wrong() -> None:
    x = torch.tensor([[-1.0], [-1], [1], [1]])
    found = linear_probe(x, ["a", "a", "b", "b"], x[1:3], ["a", "new"], penalties=(0.01,))
    assert found.accuracy.value == 0.5


def test_r2_linear_equals_least_squares_where_there_is_no_noise() -> None:
    x = normal(5, 200, 6)
    y = x @ normal(6, 6, 3) + 2
    assert r2_linear(x, y).value > 0.999
    assert r2_linear(x, normal(7, 200, 2)).value < 0.05


def test_r2_matches_a_slow_two_fold_oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "RIDGES", (0.1,))
    x, y = normal(8, 30, 4).double(), normal(9, 30, 2).double()
    y[:, 0] += x[:, 0]
    first, second = split_rows(30, 0.5, seed=1)
    predicted = torch.empty_like(y)
    for train, test in ((first, second), (second, first)):
        mean, std = x[train].mean(0), x[train].std(0)
        a, b = (x[train] - mean) / std, (x[test] - mean) / std
        level = y[train].mean(0)
        w = torch.linalg.solve(a.T @ a + 0.1 * len(train) * torch.eye(4).double(), a.T @ (y[train] - level))
        predicted[test] = b @ w + level
    residual, total = (y - predicted).square().sum(0), (y - y.mean(0)).square().sum(0)
    assert r2_linear(x, y, seed=1).value == pytest.approx(float((1 - residual / total).mean()))


@pytest.mark.parametrize("fit", [probe._fit_ridge, probe._fit_kernel])
def test_leave_one_out_picks_the_ridge_that_a_loop_would(fit: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refit without each row in turn, for every single ridge; the closed form must choose the same one."""
    x, y = normal(10, 24, 3).double(), normal(11, 24, 1).double()
    x = x - x.mean(0)
    y = (torch.sin(2 * x[:, :1]) + 0.5 * y) if fit is probe._fit_kernel else (x[:, :1] + 0.8 * y)
    y = y - y.mean(0)
    ridges = (1e-6, 1e-2, 0.1, 1.0, 10.0)
    monkeypatch.setattr(probe, "BANDWIDTHS", (1.0,))

    def fitted(ridges: tuple[float, ...], keep: Tensor) -> object:
        monkeypatch.setattr(probe, "RIDGES", ridges)
        return fit(x[keep], y[keep])  # type: ignore[operator]

    errors = []
    for ridge in ridges:
        total = 0.0
        for i in range(24):
            keep = torch.arange(24) != i
            total += float((fitted((ridge,), keep)(x[i : i + 1]) - y[i]).square())  # type: ignore[operator]
        errors.append(total)
    best = ridges[errors.index(min(errors))]
    everything = torch.ones(24, dtype=torch.bool)
    chosen, alone = fitted(ridges, everything)(x), fitted((best,), everything)(x)  # type: ignore[operator]
    torch.testing.assert_close(chosen, alone)


def test_r2_kernel_reads_what_a_line_cannot() -> None:
    x = normal(12, 300, 2)
    y = torch.stack([x[:, 0] ** 2, torch.sin(2 * x[:, 1])], 1)
    assert r2_kernel(x, y).value > 0.9
    assert r2_linear(x, y).value < 0.5
    assert r2_kernel(x, normal(13, 300)).value < 0.1
    assert r2_kernel(x, y, limit=30).value < r2_kernel(x, y).value


def test_r2_is_averaged_over_columns_whatever_their_scale() -> None:
    x = normal(14, 200, 2)
    y = torch.stack([1000 * x[:, 0], 1e-3 * normal(16, 200)], 1)
    alone = r2_linear(x, y[:, 1])
    assert r2_linear(x, y).value == pytest.approx((1 + alone.value) / 2, abs=1e-6)


def test_groups_stay_together_and_stop_a_leak() -> None:
    """Labels belong to objects, features only tell the object: grouped halves must find nothing."""
    groups = [i // 10 for i in range(300)]
    identity = normal(16, 30, 20).repeat_interleave(10, 0)
    target = normal(17, 30).repeat_interleave(10)
    assert r2_linear(identity, target).value > 0.5
    assert r2_linear(identity, target, groups=groups).value < 0.1
    for share in (0.1, 0.5, 0.99):
        first, second = split_rows(300, share, groups=groups, seed=2)
        assert not {groups[i] for i in first.tolist()} & {groups[i] for i in second.tolist()}
        assert sorted([*first.tolist(), *second.tolist()]) == list(range(300))
        assert len(first)
        assert len(second)


def test_probe_with_train_groups_holds_out_whole_groups() -> None:
    x, y = normal(18, 60, 3), [i % 2 for i in range(60)]
    groups = [i // 6 for i in range(60)]
    assert linear_probe(x, y, x, y, train_groups=groups, groups=groups).accuracy.clusters == 10


def test_bad_input_gives_one_clear_error() -> None:
    x = normal(19, 12, 2)
    with pytest.raises(DataError, match=r"all 'a'"):
        linear_probe(x, ["a"] * 12, x, ["a"] * 12)
    with pytest.raises(DataError, match=r"train: x \(12, 2\) and 11 targets"):
        linear_probe(x, [0, 1] * 5 + [0], x, [0] * 12)
    with pytest.raises(DataError, match=r"test: values hold NaN"):
        linear_probe(x, [0, 1] * 6, x * torch.nan, [0, 1] * 6)
    with pytest.raises(DataError, match=r"columns \[1\] of y are constant"):
        r2_linear(x, torch.stack([x[:, 0], torch.ones(12)], 1))
    with pytest.raises(DataError, match="at least 10"):
        r2_kernel(x[:9], x[:9])
    with pytest.raises(DataError, match="at least two groups"):
        r2_linear(x, x, groups=["one"] * 12)
