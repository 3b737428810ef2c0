"""Which part of one weight is dormant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["rows", "columns", "entries"]


@dataclass(frozen=True)
class Mask:
    """The dormant part of a weight (out, in).

    index: for rows and columns their positions (k,), int64, ascending; for entries bool (out, in).
    """

    kind: Kind
    shape: tuple[int, int]
    index: Tensor

    @property
    def count(self) -> int:
        """Dormant entries."""
        rows, columns = self.shape
        if self.kind == "entries":
            return int(self.index.sum())
        return len(self.index) * (columns if self.kind == "rows" else rows)

    def bitmap(self) -> Tensor:
        """bool (out, in)."""
        if self.kind == "entries":
            return self.index
        marked = torch.zeros(self.shape, dtype=torch.bool, device=self.index.device)
        return marked.index_fill_(0 if self.kind == "rows" else 1, self.index, True)
