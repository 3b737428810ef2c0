"""What a structure chooses as one piece, and the exact lowest k of pieces spread over many matrices.

A piece is an entry, a row, a column, or a neuron of an MLP, see `neurons`. The score of a piece is the mean over its
entries (for a neuron the mean of its two or three means).

Note:
    Pieces are numbered in the order of the scores' names, and that order breaks ties.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pairalign.core.errors import DormantError
from pairalign.dormant.selection.mask import Mask
from pairalign.dormant.selection.neurons import MLPS, find_neurons

BINS = 1 << 16


@dataclass(frozen=True)
class Pieces:
    """How the matrices named in `groups` fall into pieces."""

    structure: str
    groups: Mapping[str, tuple[str, ...]]

    def scores(self, scores: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """Group name and the flat scores of its pieces."""
        for name, weights in self.groups.items():
            if self.structure == "weights":
                yield name, scores[name].float().flatten()
            elif self.structure == "neurons":
                *rows, last = (scores[weight].float() for weight in weights)
                yield name, sum((one.mean(1) for one in rows[1:]), rows[0].mean(1)).add(last.mean(0)) / len(weights)
            else:
                yield name, scores[name].float().mean(1 if self.structure == "rows" else 0)

    def masks(self, name: str, chosen: Tensor, shapes: Callable[[str], tuple[int, int]]) -> Iterator[tuple[str, Mask]]:
        """The masks of a group's weights, from which of its pieces were chosen (bool, flat)."""
        if self.structure == "weights":
            yield name, Mask("entries", shapes(name), chosen.view(shapes(name)))
            return
        index = chosen.nonzero()[:, 0]
        for weight in self.groups[name]:
            columns = self.structure == "columns" or (self.structure == "neurons" and weight == self.groups[name][-1])
            yield weight, Mask("columns" if columns else "rows", shapes(weight), index)


def pieces_of(structure: str, names: list[str]) -> Pieces:
    """Pieces of the weights `names`; raise `DormantError` if neurons lack one of their matrices."""
    if structure != "neurons":
        return Pieces(structure, {name: (name,) for name in names})
    groups, others = find_neurons(names)
    for parent, members in others.items():
        raise DormantError(
            f"structure='neurons': {parent} has {', '.join(members)}; a neuron needs exactly "
            f"{'; or '.join(', '.join(parts) for parts in MLPS)}. Choose them with target_modules=['gate_proj', "
            "'up_proj', 'down_proj'], or those of vision towers too with target_modules='neurons'."
        )
    return Pieces(structure, groups)


def lowest(score: Tensor, k: int) -> Tensor:
    """bool like the flat `score`: exactly the k lowest, among equals the first."""
    threshold = score.kthvalue(k).values
    chosen = score < threshold
    ties = (score == threshold).nonzero()[:, 0]
    chosen[ties[: k - int(chosen.sum())]] = True
    return chosen


def lowest_of_all(stream: Callable[[], Iterator[tuple[str, Tensor]]], density: float) -> dict[str, Tensor]:
    """As `lowest` over all the flat scores that `stream()` yields, k the share `density` of them.

    The stream is walked three times, so that the scores never lie in memory together: the k-th lowest is found from
    two histograms of 16 bits each.
    """
    high = sum((_histogram(_ordered(score) >> 16) for _, score in stream()), torch.zeros(BINS, dtype=torch.int64))
    size = int(high.sum())
    k = round(density * size)
    if not 0 < k < size:
        raise DormantError(f"density={density:g}: of {size} pieces it would take {k}.")
    top, before = _bin(high, k)
    low = torch.zeros(BINS, dtype=torch.int64)
    for _, score in stream():
        keys = _ordered(score)
        low += _histogram(keys[keys >> 16 == top] & (BINS - 1))
    bottom, under = _bin(low, k - before)
    threshold, ties_left = (top << 16) + bottom, k - before - under
    chosen = {}
    for name, score in stream():
        keys = _ordered(score)
        chosen[name] = keys < threshold
        ties = (keys == threshold).nonzero()[:ties_left, 0]
        chosen[name][ties] = True
        ties_left -= len(ties)
    return chosen


def _ordered(score: Tensor) -> Tensor:
    """int64 in [0, 2^32) in the order of the float32 scores."""
    bits = (score + 0.0).view(torch.int32)  # + 0 makes -0 into 0
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).long() + (1 << 31)


def _histogram(values: Tensor) -> Tensor:
    return torch.bincount(values, minlength=BINS).cpu()


def _bin(histogram: Tensor, k: int) -> tuple[int, int]:
    """The bin that holds the k-th value, and how many values lie in the bins before it."""
    total = histogram.cumsum(0)
    place = int((total < k).sum())
    return place, int(total[place] - histogram[place])
