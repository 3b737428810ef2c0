"""A whole copy of what trains, to be put back.

Note:
    With weights that are shared out every process takes part, and keeps all of it on its CPU.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pairalign.masters import exact, write
from pairalign.sharding import part_of, whole


def trained(model: torch.nn.Module) -> dict[str, Tensor]:
    """A whole copy of everything that trains."""
    return {name: whole(exact(p)).cpu().clone() for name, p in model.named_parameters() if p.requires_grad}


@torch.no_grad()
def put_back(model: torch.nn.Module, values: Mapping[str, Tensor]) -> None:
    """Write a copy that `trained` made."""
    for name, parameter in model.named_parameters():
        if name in values:
            write(parameter, part_of(values[name], parameter))
