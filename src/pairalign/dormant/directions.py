"""Dormant directions: weights that stay are not behaviour that stays.

`ΔW = B Aᵀ`. A (in, r) is a frozen orthonormal basis of the input directions that the base's activations use least, the
eigenvectors of the smallest eigenvalues of their second moment; B (out, r) is trained from zero. For an input x like
the base's, Aᵀx is small, and so is the change of the output: norm(ΔW x) ≤ norm(B) · norm(Aᵀx), which can be measured on
any input before anything is merged.
Source: our own step. Its relatives project gradients or adapters off used directions: gradient projection memory
(Saha et al. 2021, arXiv:2103.09762), Adam-NSCL (Wang et al. 2021, arXiv:2103.07113), OSF (arXiv:2504.07097).

Note:
    "least used" is said of the calibration set; an ability that it lacks may use just these directions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pairalign.core.errors import DormantError
from pairalign.sharding import whole

Use = Literal["least", "most", "random"]


class Direction(nn.Module):
    """An update B Aᵀ of a linear layer (out, in). basis: A (in, r), orthonormal columns. `values` is B (out, r)."""

    basis: Tensor
    replaces = False
    sensors: frozenset[str] | None = None  # see `Replacement`

    def __init__(self, out_features: int, basis: Tensor) -> None:
        super().__init__()
        self.register_buffer("basis", basis)
        self.values = nn.Parameter(torch.zeros(out_features, basis.shape[1], device=basis.device))

    def difference(self, input: Tensor, weight: Tensor) -> Tensor:
        """What it adds to the output of a layer (out, in): (…, out)."""
        found: Tensor = self(input)
        return found

    def add_(self, output: Tensor, difference: Tensor) -> None:
        """Add it, in place, in the output's dtype."""
        output.add_(difference.to(output.dtype))

    def forward(self, input: Tensor) -> Tensor:
        """(…, in) → (…, out), in the dtype of the input."""
        with torch.autocast(input.device.type, enabled=False):  # rounding x would drown the little that Aᵀx is
            used = F.linear(input, self.basis.mT.to(input.dtype))
            return F.linear(used, self.values.to(used.dtype))

    def delta(self) -> Tensor:
        """B Aᵀ (out, in), float32."""
        return whole(self.values.detach()) @ self.basis.mT.float()

    def bound(self, input: Tensor) -> Tensor:
        """norm(B) · norm(Aᵀx) for inputs (N, in): (N,). No output changes by more."""
        return torch.linalg.matrix_norm(self.values.detach(), 2) * (input.float() @ self.basis.float()).norm(dim=1)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        masters = self.values.detach()
        super()._apply(fn, recurse)
        if self.values.dtype != torch.float32 and not self.values.is_meta:
            self.values.data = masters.to(self.values.device, torch.float32)
        return self


def choose_basis(
    moment: Tensor,
    rank: int,
    use: Use = "least",
    generator: torch.Generator | None = None,
    owned: Tensor | None = None,
) -> Tensor:
    """An orthonormal basis (in, rank) of input directions, from the second moment Σ x xᵀ (in, in) of inputs.

    use: "least" and "most" used directions, or "random" ones as a control. owned: basis (in, s) of directions that
    other sensors have; the result is orthogonal to them. Raise `DormantError` if fewer than `rank` are left.
    """
    size, gone = len(moment), 0 if owned is None else owned.shape[1]
    if not 0 < rank < size or rank > size - gone:
        raise DormantError(
            f"density: {rank} of {size} input directions, of which other sensors own {gone}, cannot be had. Lower it."
        )
    free = None if owned is None else _complement(owned)  # None: all directions, in their own basis
    if use == "random":  # drawn on the CPU: a seed means the same directions on every device
        drawn = torch.randn(size - gone, rank, generator=generator, dtype=torch.float64).to(moment.device)
        chosen = torch.linalg.qr(drawn).Q
    else:
        within = moment.double() if free is None else free.mT @ moment.double() @ free
        vectors = torch.linalg.eigh(within).eigenvectors  # ascending
        chosen = vectors[:, :rank] if use == "least" else vectors[:, -rank:]
    return (chosen if free is None else free @ chosen).float().contiguous()


def _complement(owned: Tensor) -> Tensor:
    """Orthonormal basis (in, in − s) of what is orthogonal to (in, s)."""
    return torch.linalg.qr(owned.double(), mode="complete").Q[:, owned.shape[1] :]
