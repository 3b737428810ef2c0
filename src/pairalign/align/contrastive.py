"""The contrastive term of stage one: symmetric InfoNCE or the sigmoid loss, false-negative-safe and chunked.

Sources: InfoNCE as in CLIP (Radford et al. 2021, arXiv:2103.00020); the sigmoid loss as in SigLIP (Zhai et
al. 2023, arXiv:2303.15343); extra positives as SupCon's "out" form (Khosla et al. 2020, arXiv:2004.11362).

Note:
    Two samples with the same caption are not negatives. Give `ids_a` and `ids_b`, or each such pair pushes apart what
    belongs together. A masked pair leaves the denominator as -inf; multiplying its logit by zero would keep it there as
    exp(0) = 1.
"""

from __future__ import annotations

import math
from typing import Any, get_args

import torch
from torch import Tensor, nn

from pairalign.align.distributed import gather_rows, rank, world_size
from pairalign.align.streamed import FalseNegatives, Matches, StreamedInfoNCE, StreamedSigmoid
from pairalign.core.errors import ConfigError, ContrastiveError, did_you_mean


def info_nce(
    a: Tensor,
    b: Tensor,
    scale: Tensor | float,
    *,
    ids_a: Tensor | None = None,
    ids_b: Tensor | None = None,
    false_negatives: FalseNegatives = "mask",
    chunk: int = 1024,
    gather: bool = False,
) -> Tensor:
    """Return the mean of both directions of InfoNCE over a batch of pairs, a scalar in nats.

    Args:
        a, b: (B, D) L2-normalised by the caller; row i of `a` belongs to row i of `b`.
        scale: positive scalar, the inverse temperature; receives a gradient.
        ids_a, ids_b: (B,) integers, equal where that side shows the same content (same caption, same image).
            A pair (i, j), i != j, with equal `ids_a` or equal `ids_b` is a false negative.
        false_negatives: "mask" leaves them out of the denominator; "positive" makes them further positives,
            the log-likelihood averaged over a row's positives; "keep" treats them as negatives, as CLIP does.
        chunk: rows at a time; extra memory is O(chunk x columns), the value does not depend on it.
        gather: use the columns of all processes. Each returns the mean over its own rows, so that the
            gradients averaged by DDP are those of one process on the concatenated batch. Needs equal batches
            everywhere.

    A row whose other columns are all masked has nothing to tell apart: its loss and gradient are zero.

    Raises:
        ContrastiveError: shapes that do not fit, fewer than two pairs, or unequal batches with `gather`.
        ConfigError: an unknown `false_negatives`, or `chunk` below 1.
    """
    _check(a, b, ids_a, ids_b, false_negatives, chunk)
    a, b, scale = _full(a), _full(b), _scalar(scale, "scale", a)
    with torch.autocast(a.device.type, enabled=False):
        if not gather or world_size() == 1:
            _require_negatives(len(b))
            matches = Matches(false_negatives, (ids_a, ids_b), (ids_a, ids_b))
            return StreamedInfoNCE.apply(a, b, scale, matches, chunk, True)
        all_a, all_b, all_ids_a, all_ids_b = gather_rows(a, b, ids_a, ids_b)
        assert all_a is not None
        assert all_b is not None
        _require_negatives(len(all_b))
        matches = Matches(false_negatives, (ids_a, ids_b), (all_ids_a, all_ids_b), rank() * len(a))
        forth = StreamedInfoNCE.apply(a, all_b, scale, matches, chunk, False)
        back = StreamedInfoNCE.apply(b, all_a, scale, matches, chunk, False)
        return (forth + back) / 2


def sigmoid_loss(
    a: Tensor,
    b: Tensor,
    scale: Tensor | float,
    bias: Tensor | float,
    *,
    ids_a: Tensor | None = None,
    ids_b: Tensor | None = None,
    false_negatives: FalseNegatives = "mask",
    chunk: int = 1024,
    gather: bool = False,
) -> Tensor:
    """Return SigLIP's loss: binary cross-entropy of every pair, summed over columns, averaged over rows.

    Arguments and errors as in `info_nce`, with `bias` added to every scaled similarity. "positive" gives
    false negatives the label of a match, "mask" leaves them out, "keep" leaves them negative.
    """
    _check(a, b, ids_a, ids_b, false_negatives, chunk)
    a, b = _full(a), _full(b)
    scale, bias = _scalar(scale, "scale", a), _scalar(bias, "bias", a)
    with torch.autocast(a.device.type, enabled=False):
        if gather:
            columns, all_ids_a, all_ids_b = gather_rows(b, ids_a, ids_b)
            assert columns is not None
        else:
            columns, all_ids_a, all_ids_b = b, ids_a, ids_b
        _require_negatives(len(columns))
        offset = rank() * len(a) if gather else 0
        matches = Matches(false_negatives, (ids_a, ids_b), (all_ids_a, all_ids_b), offset)
        return StreamedSigmoid.apply(a, columns, scale, bias, matches, chunk)


class LogitScale(nn.Module):
    """A learned inverse temperature exp(t), kept in [minimum, maximum].

    CLIP starts at 1/0.07 and clamps at 100, without which training diverges. A plain clamp has no gradient
    beyond its bounds, so a parameter that an optimizer's momentum carried over would stay there for good.
    Here the gradient passes beyond a bound only where descent leads back inside: a projected gradient.
    """

    def __init__(self, init: float = 1 / 0.07, minimum: float = 1.0, maximum: float = 100.0) -> None:
        super().__init__()
        if not 0 < minimum <= init <= maximum:
            raise ConfigError(
                f"LogitScale(init={init}, minimum={minimum}, maximum={maximum}): needs 0 < minimum <= init <= maximum."
            )
        self.log_low, self.log_high = math.log(minimum), math.log(maximum)
        self.log_scale = nn.Parameter(torch.tensor(math.log(init)))

    def forward(self) -> Tensor:
        """Return the scale, a scalar in [minimum, maximum]."""
        return _clamp_with_way_back(self.log_scale, self.log_low, self.log_high).exp()


class _ClampWithWayBack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(value)
        ctx.bounds = low, high
        return value.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (value,) = ctx.saved_tensors
        low, high = ctx.bounds
        # descent moves against the gradient: outwards at the top is a negative one
        outwards = ((value >= high) & (grad < 0)) | ((value <= low) & (grad > 0))
        return grad.masked_fill(outwards, 0.0), None, None


def _clamp_with_way_back(value: Tensor, low: float, high: float) -> Tensor:
    return _ClampWithWayBack.apply(value, low, high)


def _full(value: Tensor) -> Tensor:
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


def _scalar(value: Tensor | float, name: str, like: Tensor) -> Tensor:
    value = torch.as_tensor(value, device=like.device, dtype=like.dtype)
    if value.numel() != 1:
        raise ContrastiveError(f"{name} has shape {tuple(value.shape)}: give one number.")
    return value.reshape(())


def _require_negatives(columns: int) -> None:
    if columns < 2:
        raise ContrastiveError(
            f"a batch of {'one' if columns == 1 else 'zero'} has no negatives and"
            " teaches nothing: use batch_size >= 2 and drop the last incomplete batch (drop_last=True)."
        )


def _check(a: Tensor, b: Tensor, ids_a: Tensor | None, ids_b: Tensor | None, false_negatives: str, chunk: int) -> None:
    if false_negatives not in get_args(FalseNegatives):
        hint = did_you_mean(false_negatives, get_args(FalseNegatives))
        raise ConfigError(f"false_negatives={false_negatives!r} is not known.{hint}")
    if chunk < 1:
        raise ConfigError(f"chunk={chunk}: give the number of rows at a time, 1 or more.")
    if a.ndim != 2 or a.shape != b.shape or a.dtype != b.dtype:
        raise ContrastiveError(
            f"a {tuple(a.shape)} {a.dtype} and b {tuple(b.shape)} {b.dtype} must both be (B, D) of one dtype:"
            " project both sides to the same size."
        )
    for name, ids in (("ids_a", ids_a), ("ids_b", ids_b)):
        if ids is not None and (ids.shape != a.shape[:1] or ids.is_floating_point() or ids.device != a.device):
            raise ContrastiveError(
                f"{name} has shape {tuple(ids.shape)}, {ids.dtype}, {ids.device}: give {len(a)} integers on {a.device}."
            )
