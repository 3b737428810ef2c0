"""A batch of pairs: the same samples in every modality, and where in the data it ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from pairalign.align.model import Side


class Place(NamedTuple):
    """Where a loader worker's stream stood: the epoch, and the position of the last sample that it gave."""

    worker: int
    epoch: int
    position: int


class PairBatch(NamedTuple):
    """The same samples in every modality of a dataset.

    sides: by modality. keys: of the samples, with their source's name where there are several. sources: number of each
    one's source. bad: (key, reason) of damaged samples met. place: where it ended.
    """

    sides: dict[str, Side]
    keys: list[str]
    sources: list[int]
    bad: list[tuple[str, str]]
    place: Place

    @property
    def a(self) -> Side:
        """The first modality."""
        return next(iter(self.sides.values()))

    @property
    def b(self) -> Side:
        """The second modality."""
        return list(self.sides.values())[1]


class OpenBatch:
    """A batch that is being filled."""

    def __init__(self, ends: Sequence[str]) -> None:
        self.values: dict[str, list[Tensor]] = {end: [] for end in ends}
        self.ids: dict[str, list[int]] = {end: [] for end in ends}
        self.keys: list[str] = []
        self.sources: list[int] = []
