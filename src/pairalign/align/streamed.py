"""Contrastive losses that never hold the (rows x columns) matrix of similarities.

Source: the row-chunked log-sum-exp of memory-efficient attention (Rabe & Staats 2021, arXiv:2112.05682) and
of Inf-CL (Cheng et al. 2024, arXiv:2410.17243). The forward pass walks over chunks of rows and keeps one
log-sum-exp per row and column; the backward pass computes each chunk's similarities again. Extra memory:
O(chunk x columns).

Note:
    First derivatives only (create_graph=True raises), and the arithmetic is at least float32, also under autocast: at
    logit scale 100 bfloat16 similarities are off by up to 0.4.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pairalign.core.errors import ContrastiveError

FalseNegatives = Literal["mask", "positive", "keep"]


@dataclass(frozen=True)
class Matches:
    """Which off-diagonal pairs show the same content: the same `ids_a` or the same `ids_b`.

    Row i's own partner is column `offset + i`. `rows` and `columns` hold (ids_a, ids_b) of each, either may
    be `None`.
    """

    mode: FalseNegatives
    rows: tuple[Tensor | None, Tensor | None]
    columns: tuple[Tensor | None, Tensor | None]
    offset: int = 0

    def block(self, part: slice) -> Tensor | None:
        """Return the boolean block (rows of `part`, columns) of false negatives, `None` if none can be."""
        if self.mode == "keep":
            return None
        block: Tensor | None = None
        for row, column in zip(self.rows, self.columns, strict=True):
            if row is not None and column is not None:
                same = row[part, None] == column[None, :]
                block = same if block is None else block.logical_or_(same)
        if block is not None:
            block.diagonal(self.offset + part.start).fill_(False)
        return block

    def own(self, matrix: Tensor, part: slice) -> Tensor:
        """Return a view of the entries of `matrix` (part, columns) that pair each row with its partner."""
        return matrix.diagonal(self.offset + part.start)


class StreamedInfoNCE(torch.autograd.Function):
    """Mean InfoNCE of the rows `x` (n, D) against the columns `y` (N, D), and of the columns too if `both`.

    forward(x, y, scale, matches, chunk, both) -> scalar; `both` needs n = N and averages the two directions,
    sharing one product of the matrices: 4 products forward and backward, where the textbook form takes 6.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, scale: Tensor, matches: Matches, chunk: int, both: bool) -> Tensor:
        row_lse, counts, positive = x.new_empty(len(x)), x.new_ones(len(x)), x.new_zeros(len(x))
        col_lse = x.new_full((len(y),), -torch.inf) if both else None
        col_positive = x.new_zeros(len(y)) if both else None
        for part in _parts(len(x), chunk):
            logits, match = _logits(x, y, scale, part), matches.block(part)
            own = matches.own(logits, part)
            positive[part] = own
            if col_positive is not None:
                col_positive[part] += own
            if match is not None and matches.mode == "positive":
                counts[part] += match.sum(1)
                extra = logits.where(match, 0.0)
                positive[part] += extra.sum(1)
                if col_positive is not None:
                    col_positive += extra.sum(0)
            elif match is not None:
                logits.masked_fill_(match, -torch.inf)
            row_lse[part] = logits.logsumexp(1)
            if col_lse is not None:
                col_lse = torch.logaddexp(col_lse, logits.logsumexp(0))
        loss = (row_lse - positive / counts).mean()
        if col_lse is not None and col_positive is not None:
            # a match is symmetric, so that column j has as many positives as row j
            loss = (loss + (col_lse - col_positive / counts).mean()) / 2
        ctx.save_for_backward(x, y, scale, row_lse, col_lse, counts)
        ctx.matches, ctx.chunk = matches, chunk
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y, scale, row_lse, col_lse, counts = ctx.saved_tensors
        matches: Matches = ctx.matches
        _require_first_derivative()
        grad_x, grad_y = torch.empty_like(x), torch.zeros_like(y)
        with _full_precision(x):
            for part in _parts(len(x), ctx.chunk):
                logits, match = _logits(x, y, scale, part), matches.block(part)
                if match is not None and matches.mode == "mask":
                    logits.masked_fill_(match, -torch.inf)
                slope = (logits - row_lse[part, None]).exp_()
                if col_lse is not None:
                    slope += logits.sub_(col_lse).exp_()
                target = 1 / counts[part, None]
                if match is not None and matches.mode == "positive":
                    slope -= match * (target if col_lse is None else target + 1 / counts)
                matches.own(slope, part).sub_(target[:, 0] * (1 if col_lse is None else 2))
                torch.mm(slope, y, out=grad_x[part])
                grad_y.addmm_(slope.T, x[part])
        share = grad / (len(x) * (1 if col_lse is None else 2))
        grad_scale = ((grad_x * x).sum() * share).reshape(scale.shape)
        return grad_x.mul_(share * scale), grad_y.mul_(share * scale), grad_scale, None, None, None


class StreamedSigmoid(torch.autograd.Function):
    """SigLIP: -log sigmoid(z (scale x.y + bias)) summed over all pairs, over the rows; z = +1 for positives.

    forward(x (n, D), y (N, D), scale, bias, matches, chunk) -> scalar.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, scale: Tensor, bias: Tensor, matches: Matches, chunk: int) -> Tensor:
        loss = x.new_zeros(())
        for part in _parts(len(x), chunk):
            opposed, _ = StreamedSigmoid.opposed(x, y, scale, bias, matches, part)
            loss += F.softplus(opposed).sum()
        ctx.save_for_backward(x, y, scale, bias)
        ctx.matches, ctx.chunk = matches, chunk
        return loss / len(x)

    @staticmethod
    def opposed(
        x: Tensor, y: Tensor, scale: Tensor, bias: Tensor, matches: Matches, part: slice
    ) -> tuple[Tensor, Tensor | None]:
        """Return -z times the logits (-inf where masked), and the block of extra positives."""
        logits, match = _logits(x, y, scale, part).add_(bias), matches.block(part)
        matches.own(logits, part).neg_()
        if match is not None and matches.mode == "mask":
            return logits.masked_fill_(match, -torch.inf), None
        return (logits if match is None else torch.where(match, -logits, logits)), match

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y, scale, bias = ctx.saved_tensors
        matches: Matches = ctx.matches
        _require_first_derivative()
        grad_x, grad_y, grad_bias = torch.empty_like(x), torch.zeros_like(y), x.new_zeros(())
        with _full_precision(x):
            for part in _parts(len(x), ctx.chunk):
                opposed, extra = StreamedSigmoid.opposed(x, y, scale, bias, matches, part)
                slope = opposed.sigmoid_()
                matches.own(slope, part).neg_()
                if extra is not None:
                    slope = torch.where(extra, -slope, slope)
                grad_bias += slope.sum()
                torch.mm(slope, y, out=grad_x[part])
                grad_y.addmm_(slope.T, x[part])
        share = grad / len(x)
        grad_scale = ((grad_x * x).sum() * share).reshape(scale.shape)
        grads = (grad_x.mul_(share * scale), grad_y.mul_(share * scale), grad_scale)
        return *grads, (grad_bias * share).reshape(bias.shape), None, None


def _parts(rows: int, chunk: int) -> Iterator[slice]:
    for start in range(0, rows, chunk):
        yield slice(start, min(start + chunk, rows))


def _logits(x: Tensor, y: Tensor, scale: Tensor, part: slice) -> Tensor:
    return (x[part] * scale) @ y.T


def _require_first_derivative() -> None:
    """Refuse create_graph=True, whose second derivative `once_differentiable` drops in silence."""
    if torch.is_grad_enabled():
        raise ContrastiveError("the contrastive losses have first derivatives only: leave out create_graph=True.")


def _full_precision(x: Tensor) -> torch.autocast:
    return torch.autocast(x.device.type, enabled=False)
