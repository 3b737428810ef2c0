"""scikit-learn's logistic regression as a probe fits it: the penalty chosen on rows that are held out of training.

Note: a penalty here is of the mean over samples and of every class's weights, so that it means the same of few and many
samples and of two and many classes; scikit-learn's `C` is of the sum, and of two classes' difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

ITERATIONS = 1000  # of the solver at most


def choose_penalty(penalties: Sequence[float], x: Tensor, codes: Tensor, held: Tensor, truth: Tensor) -> float:
    """The penalty whose fit to x (n, D) says most of the held-out rows, the stiffest of equals."""
    best = max(penalties)
    known = torch.isin(truth, codes)  # no fit says anything of classes that are held out whole
    if len(penalties) < 2 or len(codes.unique()) < 2 or not known.any():
        return best
    least = math.inf
    for penalty in sorted(penalties, reverse=True):
        fit = fit_logistic(x, codes, penalty)
        column = torch.searchsorted(torch.from_numpy(fit.classes_), truth[known])
        logits = torch.from_numpy(fit.decision_function(held[known].numpy()))  # its log_proba is -inf of small shares
        logits = torch.stack([torch.zeros_like(logits), logits], 1) if logits.ndim == 1 else logits
        loss = F.cross_entropy(logits, column).item()
        if loss < least:
            best, least = penalty, loss
    return best


def fit_logistic(x: Tensor, codes: Tensor, penalty: float) -> LogisticRegression:
    """What minimises mean cross-entropy + penalty / 2 |weights|², of weights for every class."""
    from sklearn.linear_model import LogisticRegression

    two = 2 if len(codes.unique()) == 2 else 1  # it holds the difference of two classes' weights, which is twice each
    fit = LogisticRegression(C=two / (penalty * len(x)), tol=1e-5, max_iter=ITERATIONS)
    return fit.fit(x.numpy(), codes.numpy())
