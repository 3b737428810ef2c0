"""MNAFT: which neurons of an MLP serve every task, or one above all, and in which layers they gather.

Source: arXiv:2604.16943, which updates the agnostic and the specific neurons of chosen layers, in the vision tower and
in the language model. It publishes no code and no threshold. Importance and thresholds are those of its best documented
relative: Taylor importance I of a neuron for a task (see `activations`); agnostic are the `agnostic` share of neurons
with the largest sum over tasks; another is specific to a task if I exceeds `specific` times its largest for any.
Where the paper is silent, we chose: (1) shares are counted out within each tower, whose gradients are of other sizes;
(2) a task's importance is divided by its mean over the tower, so that no task counts for its loss's size; (3) a
specific neuron must matter to its task as much as the tower's mean neuron, for some task is every neuron's largest; (4)
neurons that reach no answer are in neither set; (5) of each tower's layers, the `layers` share with most relevant
neurons are chosen, at least one, and among equals the first.
The score is a mark, see `selection.relevant`: `choose="relevant"` trains what is marked, `choose="random"` as many
neurons of each layer at random; it rises with the sum over tasks within each kind, so that `choose="highest"` trains a
density of it.

Note:
    It compares tasks, so it needs two or more, with answers, and pictures for vision towers. A neuron's biases stay the
    base's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from pairalign.core.bounds import Share
from pairalign.core.errors import DormantError, did_you_mean
from pairalign.core.names import Text
from pairalign.dormant.linears import layer_name, tower_of
from pairalign.dormant.selection.relevant import AGNOSTIC, CHOSEN, SPECIFIC
from pairalign.dormant.selection.units import pieces_of
from pairalign.dormant.significance.activations import Importance, measure_importance
from pairalign.dormant.significance.scores import Batch, Factored, Linears, register_score

AGNOSTIC_SHARE, LAYER_SHARE = 0.7, 0.5
BELOW = 0.999  # the largest rank within a kind, which must not reach the next


class NeuronScores(Factored):
    """Scores of whole neurons, from those (neurons,) by MLP."""

    of_weight = False

    def __init__(self, linears: Linears, groups: Mapping[str, Sequence[str]], scores: Mapping[str, Tensor]) -> None:
        rows = {weight: scores[name] for name, weights in groups.items() for weight in weights[:-1]}
        super().__init__(linears, {weights[-1]: scores[name] for name, weights in groups.items()}, rows)


class Marks(NeuronScores):
    """Scores that are marks."""

    relevance = True

    def marks(self) -> dict[str, Tensor]:
        """(neurons,) by MLP."""
        groups = pieces_of("neurons", list(self.linears)).groups
        return {name: self.inputs[weights[-1]] for name, weights in groups.items()}


@register_score("mnaft", by_task=True)
def mnaft(
    model: nn.Module,
    linears: Linears,
    calibration: Iterable[Batch] | None = None,
    *,
    seed: int = 0,
    agnostic: Share = AGNOSTIC_SHARE,
    specific: Share = 0.9,
    layers: Share = LAYER_SHARE,
    targets: Sequence[Text] = (),
) -> Mapping[str, Tensor]:
    """Marks of whole neurons. targets: the calibration tasks whose specific neurons are relevant; empty for all."""
    groups = pieces_of("neurons", list(linears)).groups
    readers = {weights[-1]: linears[weights[-1]] for weights in groups.values()}
    importance = measure_importance(model, readers, calibration, "mnaft")
    check_tasks(importance, targets)
    marks: dict[str, Tensor] = {}
    for tower in dict.fromkeys(map(tower_of, groups)):
        inside = [name for name in groups if tower_of(name) == tower]
        found = [torch.cat([total[groups[name][-1]].cpu() for name in inside]) for total in importance.values()]
        kinds, rank = neuron_kinds(torch.stack(found), agnostic, specific, _places(importance, targets))
        sizes = [readers[groups[name][-1]].in_features for name in inside]
        marks |= marked(dict(zip(inside, zip(kinds.split(sizes), rank.split(sizes), strict=True), strict=True)), layers)
    return Marks(linears, groups, marks)


@register_score("taylor")
def taylor(
    model: nn.Module, linears: Linears, calibration: Iterable[Batch] | None = None, *, seed: int = 0
) -> Mapping[str, Tensor]:
    """Taylor importance of whole neurons over all tasks together: the lowest are what answers need least."""
    groups = pieces_of("neurons", list(linears)).groups
    readers = {weights[-1]: linears[weights[-1]] for weights in groups.values()}
    importance = measure_importance(model, readers, calibration, "taylor")
    summed = {name: sum(total[weights[-1]] for total in importance.values()) for name, weights in groups.items()}
    return NeuronScores(linears, groups, summed)  # type: ignore[arg-type]  # a sum of tensors is one


def check_tasks(importance: Importance, targets: Sequence[str]) -> None:
    """Raise `DormantError` where there are no tasks to compare, or a target is none."""
    if len(importance) < 2:
        told = next(iter(importance)) or "a set without a task's name"
        raise DormantError(
            f"score='mnaft' compares tasks, and the calibration data has one, {told}: give two or more sets, or in "
            "Python Calibration.by_task({name: batches})."
        )
    for target in targets:
        if target not in importance:
            raise DormantError(
                f"targets={list(targets)}: {target!r} is no calibration task.{did_you_mean(target, importance)}"
            )


def neuron_kinds(importance: Tensor, agnostic: float, specific: float, targets: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The kind of each neuron of a tower, `AGNOSTIC`, `SPECIFIC` or 0, and its rank in [0, 1), from importance (tasks,
    neurons). targets: rows of the tasks whose specific neurons count."""
    mean = importance.mean(1, keepdim=True)
    relative = importance / mean.clamp_min(torch.finfo(mean.dtype).tiny)
    summed, largest = relative.sum(0), relative.amax(0)
    first = summed.argsort(descending=True, stable=True)[: round(agnostic * len(summed))]
    kinds = torch.zeros_like(summed)
    above = (relative[list(targets)] > specific * largest) & (relative[list(targets)] >= 1)
    kinds[above.any(0)] = SPECIFIC
    kinds[first] = AGNOSTIC
    kinds[summed <= 0] = 0
    return kinds, BELOW * summed / summed.max().clamp_min(torch.finfo(mean.dtype).tiny)


def marked(mlps: Mapping[str, tuple[Tensor, Tensor]], share: float) -> dict[str, Tensor]:
    """Marks (neurons,) by MLP of a tower, from kinds and ranks; the layers with most relevant neurons are chosen."""
    of_layer: dict[str, list[Tensor]] = {}
    for name, (kinds, _) in mlps.items():
        of_layer.setdefault(layer_name(f"{name}.") or name, []).append(kinds > 0)
    shares = {layer: float(torch.cat(found).float().mean()) for layer, found in of_layer.items()}
    order = sorted(shares, key=lambda layer: -shares[layer])
    chosen = {layer for layer in order[: max(1, round(share * len(order)))] if shares[layer] > 0}
    return {
        name: kinds + rank + CHOSEN * ((layer_name(f"{name}.") or name) in chosen)
        for name, (kinds, rank) in mlps.items()
    }


def _places(importance: Importance, targets: Sequence[str]) -> list[int]:
    return [n for n, task in enumerate(importance) if not targets or task in targets]
