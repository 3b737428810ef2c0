"""The second moment Σ x xᵀ of each layer's inputs over the calibration tokens, padding left out.

Note:
    (in, in) numbers a layer in float32, so the layers of a large model are better done in groups.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from pairalign.core.errors import DormantError
from pairalign.dormant.significance.scores import Batch, Linears, placed, real_tokens, run_calibration


def input_moments(model: nn.Module, linears: Linears, calibration: Iterable[Batch] | None) -> dict[str, Tensor]:
    """(in, in) by module name, on the layer's device; one pass over the data.

    Raise `DormantError` if a layer saw fewer tokens than it has inputs: most directions would then look unused.
    """
    found: dict[str, Tensor] = {}
    tokens = dict.fromkeys(linears, 0)

    def see(name: str, inputs: Tensor, batch: Batch) -> None:
        seen = real_tokens(inputs, batch).float()
        found[name] = found[name] + seen.mT @ seen if name in found else seen.mT @ seen
        tokens[name] += len(seen)

    run_calibration(model, linears, placed(calibration, model), see, "directions")
    for name, module in linears.items():
        if tokens[name] < module.in_features:
            raise DormantError(
                f"calibration is too small: {name} saw {tokens[name]} tokens, and has {module.in_features} inputs. "
                "Give at least as many tokens, better ten times."
            )
    return found
