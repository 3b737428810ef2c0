"""The second moment Σ x xᵀ of each layer's inputs over the calibration tokens, padding left out.

Where it bites: (in, in) numbers a layer in float32, so the layers of a large model are better done in groups.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from pairalign.recompose.significance.scores import Batch, Linears, real_tokens, run_calibration


def input_moments(model: nn.Module, linears: Linears, calibration: Iterable[Batch] | None) -> dict[str, Tensor]:
    """(in, in) by module name, on the layer's device; one pass over the data."""
    found: dict[str, Tensor] = {}

    def see(name: str, inputs: Tensor, batch: Batch) -> None:
        seen = real_tokens(inputs, batch).float()
        found[name] = found[name] + seen.mT @ seen if name in found else seen.mT @ seen

    run_calibration(model, linears, calibration, see, "directions")
    return {name: found.get(name, torch.zeros(m.in_features, m.in_features)) for name, m in linears.items()}
