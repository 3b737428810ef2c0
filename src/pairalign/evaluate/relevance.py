"""Which target is a right answer to which query: boolean (N, M) matrices that exist a few rows at a time.

Note:
    100,000 samples make a matrix of 10 GB in booleans. Nothing here holds one; ask for rows by a slice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from pairalign.core.errors import ConfigError, DataError
from pairalign.evaluate.intervals import Labels, encode_labels

BLOCK = 4_000_000  # entries held at a time


class Rows(Protocol):
    """A boolean matrix by rows; a tensor is one."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def T(self) -> Rows: ...  # noqa: N802

    def __getitem__(self, rows: slice, /) -> Tensor: ...


@dataclass(frozen=True)
class SharesAny:
    """Right where query and target are equal in any of some columns of codes: `query` K x (N,), `target` K x (M,)."""

    query: Sequence[Tensor]
    target: Sequence[Tensor]

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.query[0]), len(self.target[0])

    @property
    def T(self) -> SharesAny:  # noqa: N802
        return SharesAny(self.target, self.query)

    def __getitem__(self, rows: slice) -> Tensor:
        found = self.query[0][rows, None] == self.target[0]
        for query, target in zip(self.query[1:], self.target[1:], strict=True):
            found |= query[rows, None] == target
        return found


class Near:
    """Right where the cosine of features (N, D) with each other is above `tau`, in float64."""

    def __init__(self, features: Tensor, tau: float) -> None:
        self.unit, self.tau = F.normalize(features.double(), dim=1), tau

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.unit), len(self.unit)

    @property
    def T(self) -> Near:  # noqa: N802
        return self

    def __getitem__(self, rows: slice) -> Tensor:
        return self.unit[rows] @ self.unit.T > self.tau


class Relevance:
    """Rows of the relevance matrix that `retrieval` is asked for: by ids, by a matrix, or row i of column i."""

    def __init__(
        self, n: int, m: int, query_ids: Labels | None, target_ids: Labels | None, relevant: Rows | Tensor | None
    ) -> None:
        if (query_ids is None) != (target_ids is None) or (relevant is not None and query_ids is not None):
            raise ConfigError("retrieval: give query_ids and target_ids together, or `relevant`, or none of them.")
        if relevant is not None:
            self.rows: Rows | Tensor = relevant
        elif query_ids is not None and target_ids is not None:
            self.rows = SharesAny(*([codes] for codes in encode_labels(query_ids, target_ids)))
        else:
            self.rows = SharesAny([torch.arange(n)], [torch.arange(n)])
        if tuple(self.rows.shape) != (n, m):
            given = tuple(self.rows.shape)
            raise DataError(f"retrieval: relevance is given for {given}, embeddings are ({n}, {m}): make them equal.")

    def __getitem__(self, rows: slice) -> Tensor:
        return self.rows[rows].bool().cpu()


class Candidates:
    """Rows of the (N, M) matrix of candidates: all targets, or those of the query's own group."""

    def __init__(self, n: int, m: int, restrict: tuple[Labels, Labels] | None) -> None:
        self.all = torch.ones(1, m, dtype=torch.bool)
        self.restricted = Relevance(n, m, *restrict, None) if restrict is not None else None

    def __getitem__(self, rows: slice) -> Tensor:
        return self.all if self.restricted is None else self.restricted[rows]


def blocks(n: int, m: int) -> Iterator[slice]:
    """Slices of n rows, so that those of m columns hold `BLOCK` entries, or one row."""
    step = max(1, BLOCK // max(1, m))
    return (slice(start, start + step) for start in range(0, n, step))


def count_right(matrix: Rows | Tensor) -> Tensor:
    """Right targets of each query, (N,) int64."""
    return torch.cat([matrix[rows].sum(1) for rows in blocks(*matrix.shape)])
