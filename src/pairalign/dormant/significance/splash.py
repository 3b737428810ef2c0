"""Splash: abs(W) times the norm of each input over the calibration tokens, plus a constant.

Source: Splash (ECCV 2026), as its code does it: the norm runs over every token of the batch, padding included, and
1e-6 is added. Its paper speaks of visual-relative importance: `tokens="image"` takes the norm over the image's tokens
only, `tokens="relative"` divides their root mean square by that of the text's. Padding never counts there.

Note:
    Image tokens are those whose id is the model's `image_token_id`; a batch without one is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from pairalign.core.errors import DormantError
from pairalign.dormant.significance.scores import Batch, Factored, Linears, register_score, run_calibration
from pairalign.dormant.significance.tokens import image_token, tokens_by_kind

EPSILON = 1e-6


@register_score("splash")
def splash(
    model: nn.Module,
    linears: Linears,
    calibration: Iterable[Batch] | None = None,
    *,
    seed: int = 0,
    tokens: Literal["all", "image", "relative"] = "all",
) -> Mapping[str, Tensor]:
    """Scores from one pass over the calibration data."""
    if tokens != "all" and image_token(model) is None:
        raise DormantError(f"tokens={tokens!r}: the model's config names no image_token_id; use tokens='all'.")
    kinds = ("image", "text") if tokens != "all" else ("all",)
    total = {(name, kind): torch.zeros(m.in_features) for name, m in linears.items() for kind in kinds}
    count = dict.fromkeys(kinds, 0)
    first = next(iter(linears))

    def see(name: str, inputs: Tensor, batch: Batch) -> None:
        for kind in kinds:
            seen = inputs.flatten(0, -2) if kind == "all" else inputs[tokens_by_kind(model, batch)[kind]]
            total[name, kind] += seen.float().square().sum(0).cpu()
            count[kind] += len(seen) if name == first else 0

    run_calibration(model, linears, calibration, see, "splash")
    if not count[kinds[0]]:
        raise DormantError(f"tokens={tokens!r}: the calibration data has no image token.")
    norms = {(name, kind): value.sqrt() + EPSILON for (name, kind), value in total.items()}
    if tokens == "relative":
        share = (max(count["text"], 1) / count["image"]) ** 0.5
        return Factored(linears, {name: share * norms[name, "image"] / norms[name, "text"] for name in linears})
    return Factored(linears, {name: norms[name, kinds[0]] for name in linears})
