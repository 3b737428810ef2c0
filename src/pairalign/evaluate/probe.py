"""What can be read from a representation: linear probe for labels, linear and kernel ridge R² for continuous
factors.

Sources: linear probe, Alain & Bengio 2016; R² from held-out regression as the identifiability score, von
Kügelgen et al. 2021 and Yao et al. 2024. Leave-one-out errors of ridge in closed form, Golub, Heath & Wahba
1979.

Note:
    A probe is only as honest as its split. Pass `groups` (object, session), or a probe that recognises the object
    passes for one that reads its hardness.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pairalign.core.errors import DataError
from pairalign.evaluate.intervals import Score, bootstrap, bootstrap_mean, class_mean, encode_labels
from pairalign.evaluate.logistic import choose_penalty, fit_logistic

Labels = Sequence[Hashable] | Tensor
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of the probe, per sample and on standardised inputs
RIDGES = tuple(10.0**e for e in range(-6, 4))
BANDWIDTHS = (0.5, 1.0, 2.0)  # of the RBF kernel, times the median distance
KERNEL_LIMIT = 1500  # samples that fit one kernel ridge; its cost grows with their cube


@dataclass(frozen=True)
class ProbeScore:
    """A linear probe on held-out samples.

    accuracy: chance is always naming the class most common in training. class_mean: mean of the accuracies of
    the classes present in test; chance is 1 / number of classes in training. penalty: the L2 weight that was
    chosen.
    predicted: (n_test,) index into `classes`.
    """

    accuracy: Score
    class_mean: Score
    penalty: float
    classes: tuple[Hashable, ...]
    predicted: Tensor = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for `metrics.json`."""
        return {
            "accuracy": self.accuracy.to_dict(),
            "class_mean": self.class_mean.to_dict(),
            "penalty": self.penalty,
            "classes": [str(c) for c in self.classes],
        }


def linear_probe(
    train_x: Tensor,
    train_y: Labels,
    test_x: Tensor,
    test_y: Labels,
    *,
    groups: Labels | None = None,
    train_groups: Labels | None = None,
    penalties: Sequence[float] = PENALTIES,
    samples: int = 1000,
    seed: int = 0,
) -> ProbeScore:
    """Multinomial logistic regression from train_x (N, D) to labels, scored on test_x (M, D).

    Inputs are standardised by the training set. The L2 penalty is the one that does best on a fifth of the
    training set, held out by whole `train_groups` where given; then all of it is fitted. groups: M labels for
    a cluster bootstrap of the test score. A test label unseen in training counts as wrong.
    """
    codes, truth = encode_labels(train_y, test_y)
    _check_rows(train_x, codes, "train")
    _check_rows(test_x, truth, "test")
    n_classes = int(codes.max()) + 1
    names = _names(train_y, codes, n_classes)
    if n_classes < 2:
        raise DataError(f"linear_probe: the training labels are all {names[0]!r}: give at least two classes.")
    x, z = _standardise(train_x, test_x)
    fit_rows, held = split_rows(len(x), 0.8, groups=train_groups, seed=seed)
    penalty = choose_penalty(penalties, x[fit_rows], codes[fit_rows], x[held], codes[held])
    predicted = torch.from_numpy(fit_logistic(x, codes, penalty).predict(z.numpy()))
    right = (predicted == truth).double()
    majority = float((truth == codes.mode().values).double().mean())
    settings: dict[str, Any] = {"groups": groups, "samples": samples, "seed": seed}
    return ProbeScore(
        bootstrap_mean(right, chance=majority, **settings),
        bootstrap(class_mean(right, truth), len(right), chance=1 / n_classes, **settings),
        penalty,
        names,
        predicted,
    )


def r2_linear(x: Tensor, y: Tensor, **settings: Any) -> Score:
    """Held-out R² of ridge regression from x (N, D) to y (N, E) or (N,), averaged over the columns of y.

    Two-fold: each half is predicted by the model fitted on the other, its ridge chosen by leave-one-out error
    there.
    Settings: groups (N labels: halves are split, and the bootstrap drawn, by whole groups), samples, seed.
    Chance is 0, the mean of y; a useless fit may fall below. Raises `DataError` for a constant column of y.
    """
    return _held_out_r2(x, y, _fit_ridge, **settings)


def r2_kernel(x: Tensor, y: Tensor, limit: int = KERNEL_LIMIT, **settings: Any) -> Score:
    """As `r2_linear`, by kernel ridge with an RBF kernel: what a smooth nonlinear map can read.

    Bandwidth (around the median distance) and ridge are chosen by leave-one-out error. `limit`: training
    samples that each of the two fits uses at most, the first of its shuffled half; all samples are still
    predicted.
    """
    return _held_out_r2(x, y, lambda a, b: _fit_kernel(a[:limit], b[:limit]), **settings)


def split_rows(n: int, share: float, *, groups: Labels | None = None, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Shuffle n rows into two parts, the first with about `share` of them; whole groups stay together."""
    codes = torch.arange(n) if groups is None else encode_labels(groups)[0]
    if len(codes) != n:
        raise DataError(f"groups holds {len(codes)} labels for {n} samples: give one group per sample.")
    generator = torch.Generator().manual_seed(seed)
    units = int(codes.max()) + 1
    if units < 2:
        raise DataError(f"{n} samples in {units} group cannot be split in two: give at least two groups.")
    first = torch.zeros(units, dtype=torch.bool)
    first[torch.randperm(units, generator=generator)[: min(units - 1, max(1, round(share * units)))]] = True
    rows = torch.randperm(n, generator=generator)
    return rows[first[codes[rows]]], rows[~first[codes[rows]]]


Predictor = Callable[[Tensor], Tensor]


def _held_out_r2(
    x: Tensor,
    y: Tensor,
    fit: Callable[[Tensor, Tensor], Predictor],
    *,
    groups: Labels | None = None,
    samples: int = 1000,
    seed: int = 0,
) -> Score:
    x, y = x.detach().cpu().double(), y.detach().cpu().double()
    y = y[:, None] if y.ndim == 1 else y
    _check_rows(x, y, "r2")
    if len(x) < 10:
        raise DataError(f"r2: {len(x)} samples: give at least 10, five for each half.")
    constant = (y.std(0) <= 1e-9 * (1 + y.abs().amax(0))).nonzero().flatten().tolist()
    if constant:
        raise DataError(f"r2: columns {constant} of y are constant, so R² has no meaning: leave them out.")
    predicted = torch.empty_like(y)
    halves = split_rows(len(x), 0.5, groups=groups, seed=seed)
    for train, test in (halves, halves[::-1]):
        inputs, held = _standardise(x[train], x[test])
        mean, scale = y[train].mean(0), y[train].std(0).clamp(min=1e-12)
        predicted[test] = fit(inputs, (y[train] - mean) / scale)(held) * scale + mean
    return bootstrap(_r2(y, predicted), len(y), groups=groups, chance=0.0, samples=samples, seed=seed)


def _r2(y: Tensor, predicted: Tensor) -> Callable[[Tensor], Tensor]:
    """A statistic for `bootstrap`: mean over columns of 1 - residual / total sum of squares."""
    residual, centred = (y - predicted).square(), y - y.mean(0)

    def statistic(weights: Tensor) -> Tensor:
        total = weights @ centred.square() - (weights @ centred).square() / weights.sum(1, keepdim=True)
        return (1 - (weights @ residual) / total).mean(1)

    return statistic


def _fit_ridge(x: Tensor, y: Tensor) -> Predictor:
    """Ridge on centred x (n, D), y (n, E); each column its own penalty, by the leave-one-out error."""
    from sklearn.linear_model import RidgeCV

    ridge = RidgeCV([penalty * len(x) for penalty in RIDGES], alpha_per_target=True).fit(x.numpy(), y.numpy())
    return lambda z: torch.from_numpy(ridge.predict(z.numpy())).reshape(len(z), -1)


def _fit_kernel(x: Tensor, y: Tensor) -> Predictor:
    """Kernel ridge on x (n, D), y (n, E); bandwidth and ridge of each column by the leave-one-out error.

    scikit-learn's has no leave-one-out error in closed form: it would be fitted n times.
    """
    distance = torch.cdist(x, x)
    median = distance[~torch.eye(len(x), dtype=torch.bool)].median().clamp(min=1e-12)
    gammas = [float(0.5 / (factor * median) ** 2) for factor in BANDWIDTHS]
    errors, duals = [], []
    for gamma in gammas:
        values, vectors = torch.linalg.eigh(torch.exp(-gamma * distance.square()))
        projected = vectors.T @ y
        for ridge in RIDGES:
            inverse = 1 / (values.clamp(min=0) + ridge)
            dual = vectors @ (inverse[:, None] * projected)
            errors.append((dual / (vectors.square() @ inverse)[:, None]).square().mean(0))
            duals.append(dual)
    error = torch.stack(errors)
    dual, width = _best_columns(error, torch.stack(duals)), error.argmin(0) // len(RIDGES)

    def predict(z: Tensor) -> Tensor:
        square = torch.cdist(z, x).square()
        parts = [torch.exp(-gamma * square) @ (dual * (width == i)) for i, gamma in enumerate(gammas)]
        return torch.stack(parts).sum(0)

    return predict


def _best_columns(errors: Tensor, candidates: Tensor) -> Tensor:
    """For each column its candidate of least error: errors (K, E), candidates (K, n, E) -> (n, E)."""
    choice = errors.argmin(0).expand(1, candidates.shape[1], -1)
    return candidates.gather(0, choice)[0]


def _standardise(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float64, by the mean and spread of `train`; its constant columns become zeros."""
    train, test = train.detach().cpu().double(), test.detach().cpu().double()
    mean, std = train.mean(0), train.std(0)
    scale = torch.where(std > 1e-9 * (1 + mean.abs()), 1 / std.clamp(min=1e-300), torch.zeros_like(std))
    return (train - mean) * scale, (test - mean) * scale


def _names(labels: Labels, codes: Tensor, n_classes: int) -> tuple[Hashable, ...]:
    first = {int(code): label for code, label in zip(codes, labels, strict=True)}
    return tuple(first[c].item() if isinstance(first[c], Tensor) else first[c] for c in range(n_classes))


def _check_rows(x: Tensor, y: Tensor, name: str) -> None:
    if x.ndim != 2 or len(x) != len(y) or not len(x):
        raise DataError(f"{name}: x {tuple(x.shape)} and {len(y)} targets: give (N, D), N targets, N >= 1.")
    if not bool(x.isfinite().all()) or not bool(y.isfinite().all()):
        raise DataError(f"{name}: values hold NaN or infinity: check the encoder and the targets.")
