"""abs(W): no data, and the control that every other score has to beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from pairalign.dormant.significance.scores import Factored, Linears, register_score


@register_score("magnitude")
def magnitude(model: nn.Module, linears: Linears, calibration: Any = None, *, seed: int = 0) -> Mapping[str, Tensor]:
    """Scores of every weight; looks at no data."""
    return Factored(linears)
