"""Whether a model's weight is the one that a delta was made for, in whatever numbers both are kept.

In the same numbers it is the SHA-256 of its bits. In others it is what all kinds of numbers say of the original: that
it lay in an interval around what they hold, half a step of float, integer or code to either side. A delta keeps these
intervals of `PLACES` entries of each weight; those of the same original overlap, whatever it was rounded to.

Note:
    Coarse numbers tell little. Against 4 bits, a fine-tune that moved the weights by less than a hundredth of their
    size passes for the base; so a fit in other numbers is always said, and nothing that was measured is claimed.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pairalign.core.errors import DeltaError
from pairalign.dormant.provenance import fingerprint, weight_fingerprint
from pairalign.dormant.quantised import dense, dtype_of, form_of, shape_of
from pairalign.sharding import whole

PLACES = 64
CELLS = "cells"  # the part of a delta that holds them
EACH, ALL = 0.9, 0.995  # shares of intervals that have to overlap, of one weight and of all together
Cells = Mapping[str, Tensor]


def about_weight(weight: Tensor) -> dict[str, Any]:
    """What a delta says of a base weight: shape, dtype, how it is quantised if it is, SHA-256."""
    form = form_of(weight)
    about = {"shape": list(shape_of(weight)), "dtype": str(dtype_of(weight)), "sha256": weight_fingerprint(weight)}
    return about if form is None else {**about, "form": form}


def cells_of(weight: Tensor, places: int = PLACES) -> Tensor:
    """(2, k) float32: the lower and upper bounds of what entries that lie evenly over a weight were rounded from."""
    values = dense(weight).flatten()
    at = torch.arange(min(places, len(values)), device=values.device) * len(values) // min(places, len(values))
    held, form = values[at].float(), form_of(weight)
    kind = torch.finfo(values.dtype)
    rounding = held.abs().clamp(min=kind.smallest_normal) * kind.eps
    if form is None:
        bounds = held - rounding / 2, held + rounding / 2
    elif getattr(weight, "quant_state", None) is not None:
        bounds = _codes(weight, at, held, rounding)
    else:
        step = _steps(weight, at) / (2 if type(weight).__name__ == "Int8Tensor" else 1) + rounding
        bounds = held - step, held + step
    return torch.stack(bounds).cpu()


def agreement(one: Tensor, other: Tensor) -> float:
    """The share of intervals (2, k) that overlap."""
    if one.shape != other.shape:
        return 0.0
    return float(((one[0] <= other[1]) & (other[0] <= one[1])).float().mean())


def find_fitting(
    modules: Mapping[str, nn.Module],
    weights: Mapping[str, Mapping[str, Any]],
    cells: Cells,
    dtype: torch.dtype | None = None,
) -> dict[str, nn.Linear]:
    """The layers that a delta changes, by name; raise `DeltaError` where one is not that of its base.

    weights: what the delta says of each. cells: its intervals by layer; of an older delta there are none, and its base
    has to be in the same numbers. dtype: that the model's are yet to be converted to. A fit in other numbers warns.
    """
    found: dict[str, nn.Linear] = {}
    shares: dict[str, float] = {}
    for name, about in weights.items():
        linear = modules.get(name)
        if not isinstance(linear, nn.Linear):
            raise DeltaError(f"the delta changes {name}, which the model does not have: it was made for another base.")
        found[name] = linear
        share = _compare(name, linear.weight, about, cells.get(name), dtype)
        if share is not None:
            shares[name] = share
    if shares:
        _judge(shares, weights, found)
    return found


def _compare(
    name: str, weight: Tensor, about: Mapping[str, Any], cells: Tensor | None, dtype: torch.dtype | None
) -> float | None:
    """`None` for the same bits, or the share of intervals that agree; `DeltaError` where the shape alone says no."""
    form, shape, made = form_of(weight), shape_of(weight), about.get("form")
    if list(shape) != list(about["shape"]):
        raise DeltaError(
            f"{name}.weight is {shape} of {_named(weight)}, the delta was made for {tuple(about['shape'])} of "
            f"{about['dtype']}: load the base as it was."
        )
    if form is not None and about["kind"] == "entries":
        raise DeltaError(
            f"{name}.weight is quantised ({form}), and the delta's single entries take a dense weight: load the base "
            f"in {about['dtype']}."
        )
    if form == made and (form is not None or str(dtype or dtype_of(weight)) == about["dtype"]):
        held = weight if form is not None or dtype is None else whole(weight.detach()).to(dtype)
        if (weight_fingerprint(held) if form is not None else fingerprint(whole(held.detach()))) == about["sha256"]:
            return None
        if form is None:
            raise DeltaError(f"{name}.weight is not that of the base that the delta was made for: load that base.")
    if cells is None:
        raise DeltaError(
            f"{name}.weight is {shape} of {_named(weight)}, the delta was made for {tuple(about['shape'])} of "
            f"{made or about['dtype']}, and does not say what would tell the same base in other numbers: load the base "
            "as it was."
        )
    return agreement(cells, cells_of(weight))


def _judge(
    shares: Mapping[str, float], weights: Mapping[str, Mapping[str, Any]], found: Mapping[str, nn.Linear]
) -> None:
    """Raise `DeltaError` where too few intervals agree, and warn where enough do."""
    worst = min(shares, key=lambda name: shares[name])
    mean = sum(shares.values()) / len(shares)
    made, here = weights[worst].get("form") or weights[worst]["dtype"], _named(found[worst].weight)
    made = made.removeprefix("torch.")
    if shares[worst] < EACH or mean < ALL:
        raise DeltaError(
            f"{worst}.weight is not that of the base that the delta was made for: of what {here} and {made} can tell, "
            f"{shares[worst]:.0%} agrees, of all weights {mean:.1%}. Load that base."
        )
    warnings.warn(
        f"the delta was made on a base in {made}, and this one is in {here}: its weights agree as far as these tell "
        f"({mean:.1%}), but what was measured was measured there. Measure again.",
        stacklevel=4,
    )


def _named(weight: Tensor) -> str:
    return form_of(weight) or str(dtype_of(weight)).removeprefix("torch.")


def _steps(weight: Any, at: Tensor) -> Tensor:
    """The distance of neighbouring integers at places of the flat weight."""
    columns = shape_of(weight)[1]
    high, wide = weight.block_size
    scale: Tensor = weight.scale.reshape(-1, columns // wide)
    return scale[at // columns // high, at % columns // wide].float()


def _codes(weight: Any, at: Tensor, held: Tensor, rounding: Tensor) -> tuple[Tensor, Tensor]:
    """Half the way to the next code on either side, of a weight in 4 bits."""
    from bitsandbytes.functional import dequantize_blockwise

    state = weight.quant_state
    scales = state.absmax if not state.nested else dequantize_blockwise(state.absmax, state.state2) + state.offset
    scale = scales.flatten()[at // state.blocksize].float()
    codes = state.code.float().sort().values
    which = (codes - (held / scale.clamp(min=1e-30))[:, None]).abs().argmin(1)
    between = (codes[1:] + codes[:-1]) / 2
    edges = torch.cat([codes[:1], between, codes[-1:]])
    slack = rounding + scale * (0.05 if state.nested else 1e-3)  # scales that were themselves quantised are coarse
    return edges[which] * scale - slack, edges[which + 1] * scale + slack
