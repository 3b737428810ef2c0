"""Wanda: abs(W) times the root mean square of each input over the calibration tokens.

Source: Sun et al. 2024, arXiv:2306.11695.

Note:
    Padding is left out, as the batch's attention mask says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from pairalign.dormant.significance.scores import (
    Batch,
    Factored,
    Linears,
    real_tokens,
    register_score,
    run_calibration,
)


@register_score("wanda")
def wanda(
    model: nn.Module, linears: Linears, calibration: Iterable[Batch] | None = None, *, seed: int = 0
) -> Mapping[str, Tensor]:
    """Scores from one pass over the calibration data."""
    total = {name: torch.zeros(module.in_features, dtype=torch.float64) for name, module in linears.items()}
    tokens = dict.fromkeys(linears, 0)

    def see(name: str, inputs: Tensor, batch: Batch) -> None:
        seen = real_tokens(inputs, batch)
        total[name] += seen.float().square().sum(0).double().cpu()
        tokens[name] += len(seen)

    run_calibration(model, linears, calibration, see, "wanda")
    return Factored(linears, {name: (total[name] / max(tokens[name], 1)).sqrt().float() for name in linears})
