"""Neurons that a score itself marks as relevant, of two kinds, and as many others at random, as a control.

A mark is the score's value: 2 and more for a neuron that serves all tasks ("agnostic"), 1 and more for one that serves
some above all ("specific"), less for the rest; and `CHOSEN` on top in the layers that the score chooses. What is
relevant is what is marked in a chosen layer: neither a density nor a budget decides.

Note:
    A layer that is not chosen has no mask at all. The control is drawn from all neurons of a layer, the relevant ones
    among them, so that at shares near one it is nearly the same choice.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pairalign.core.errors import DormantError
from pairalign.dormant.selection.mask import Mask
from pairalign.dormant.selection.units import pieces_of

CHOSEN, AGNOSTIC, SPECIFIC = 3.0, 2.0, 1.0
BY_MARK = ("relevant", "random")
"""Values of `DormantConfig.choose` that go by marks."""


@dataclass(frozen=True)
class NeuronLayer:
    """An MLP: its neurons, how many are agnostic and specific, and whether its layer is chosen."""

    name: str
    neurons: int
    agnostic: int
    specific: int
    chosen: bool

    @property
    def trained(self) -> int:
        """Neurons that train, or as many at random."""
        return self.agnostic + self.specific if self.chosen else 0


def is_relevance(scores: Any) -> bool:
    """Whether the values of some scores are marks."""
    return bool(getattr(scores, "relevance", False))


def check_choice(score: str | None, structure: str, choose: str) -> None:
    """Raise `DormantError` where a choice does not fit what a score called so says, or, for `None`, scores of a file
    that are no marks."""
    if score == "mnaft" and structure != "neurons":
        raise DormantError(f"structure={structure!r}: score='mnaft' is of whole neurons: give structure='neurons'.")
    if score == "mnaft" and choose == "lowest":
        raise DormantError(
            "choose='lowest': with score='mnaft' it trains the least important neurons, the opposite of the published "
            "method, which earlier versions did under this name. Give choose='relevant' for MNAFT's own neurons, or "
            "choose='highest' with a density; the least important ones are those of score='taylor' now."
        )
    if score != "mnaft" and choose in BY_MARK:
        wanted = " For random ones give score='random'." if choose == "random" else ""
        told = "scores: they mark" if score is None else f"score={score!r} marks"
        raise DormantError(f"choose={choose!r}: {told} no neuron as relevant, those of 'mnaft' do.{wanted}")


def select_relevant(
    scores: Mapping[str, Tensor], at_random: bool = False, seed: int = 0, taken: Mapping[str, Tensor] | None = None
) -> dict[str, Mask]:
    """Masks by weight name of the relevant neurons, from marks (out, in) by weight name; of layers without any none.

    at_random: as many neurons of each MLP, drawn by seed. taken: bool (out, in) by weight name of entries that another
    sensor owns, whose neurons are left to it. Raise `DormantError` if nothing is left.
    """
    pieces, shapes = pieces_of("neurons", list(scores)), dict[str, tuple[int, int]]()
    owned = {name: taken[name].float() for name in scores if taken and name in taken}
    masks: dict[str, Mask] = {}
    for name, weights in pieces.groups.items():
        marks = {weight: scores[weight] for weight in weights}
        shapes |= {weight: (len(mark), mark.shape[1]) for weight, mark in marks.items()}
        value = next(iter(_of(weights, marks)))
        free = torch.ones_like(value, dtype=torch.bool)
        if any(weight in owned for weight in weights):
            free = next(iter(_of(weights, {w: owned.get(w, torch.zeros_like(marks[w])) for w in weights}))) == 0
        chosen = _relevant(value) & free
        if at_random:
            chosen = _drawn(int(_relevant(value).sum()), free, f"{seed}/{name}")
        if bool(chosen.any()):
            masks |= dict(pieces.masks(name, chosen, shapes.__getitem__))
    if not masks:
        raise DormantError(
            "choose='relevant': no neuron is relevant that no other sensor owns: raise agnostic or layers."
        )
    return masks


def neuron_layers(scores: Any) -> tuple[NeuronLayer, ...]:
    """What scores that are marks say of each MLP; nothing of other scores."""
    found = []
    for name, mark in scores.marks().items() if is_relevance(scores) else ():
        kinds = mark % CHOSEN
        agnostic, specific = int((kinds >= AGNOSTIC).sum()), int(((kinds >= SPECIFIC) & (kinds < AGNOSTIC)).sum())
        found.append(NeuronLayer(name, len(mark), agnostic, specific, bool((mark >= CHOSEN).all())))
    return tuple(found)


def neuron_rows(layers: Sequence[NeuronLayer]) -> list[tuple[str, ...]]:
    """A row of text for each MLP, under one of headings, and one for all."""
    rows = [("neurons of", "all", "agnostic", "specific", "relevant", "train")]
    for one in layers:
        share = (one.agnostic + one.specific) / one.neurons
        numbers = (f"{one.neurons:,}", f"{one.agnostic:,}", f"{one.specific:,}", f"{share:.1%}", f"{one.trained:,}")
        rows.append((one.name, *numbers))
    sums = [sum(getattr(one, part) for one in layers) for part in ("neurons", "agnostic", "specific", "trained")]
    share = (sums[1] + sums[2]) / max(sums[0], 1)
    return [*rows, ("all", f"{sums[0]:,}", f"{sums[1]:,}", f"{sums[2]:,}", f"{share:.1%}", f"{sums[3]:,}")]


def _of(weights: Sequence[str], values: Mapping[str, Tensor]) -> Iterator[Tensor]:
    """The flat scores of the neurons of one MLP."""
    return (flat for _, flat in pieces_of("neurons", list(weights)).scores(values))


def _relevant(value: Tensor) -> Tensor:
    return value >= CHOSEN + SPECIFIC


def _drawn(count: int, free: Tensor, key: str) -> Tensor:
    """bool like `free`: `count` of those that are free, fewer where fewer are, the same on every device."""
    generator = torch.Generator().manual_seed(zlib.crc32(key.encode()))
    places = free.cpu().nonzero()[:, 0]
    picked = places[torch.randperm(len(places), generator=generator)[:count]]
    return torch.zeros_like(free).index_fill_(0, picked.to(free.device), True)
