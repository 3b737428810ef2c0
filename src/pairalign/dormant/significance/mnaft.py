"""MNAFT: which neurons of the gated MLPs serve every modality, or one above all.

The importance of a neuron for a modality is the mean over that modality's tokens of `abs(h · dL/dh)`, h its gated
activation. Agnostic are the `agnostic` share of neurons with the highest sum over modalities; a neuron is specific to a
modality if its importance for it exceeds `specific` times its largest for any. Agnostic neurons score highest, then
those specific to a modality in `protect`, then the others; within each kind the sum decides.
Source: arXiv:2604.16943, which publishes no threshold; these are those of its best documented relative.
Where it bites: needs labelled batches, and only the three matrices of gated MLPs have neurons.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from pairalign.core.bounds import Share
from pairalign.core.errors import DormantError
from pairalign.core.names import Text
from pairalign.dormant.quantised import shape_of
from pairalign.dormant.selection.units import GATED, pieces_of
from pairalign.dormant.significance.capture import captured
from pairalign.dormant.significance.scores import Batch, Linears, base_weight, register_score
from pairalign.dormant.significance.tokens import tokens_by_kind


@register_score("mnaft")
def mnaft(
    model: nn.Module,
    linears: Linears,
    calibration: Iterable[Batch] | None = None,
    *,
    seed: int = 0,
    agnostic: Share = 0.7,
    specific: Share = 0.9,
    protect: Sequence[Text] = ("text",),
) -> Mapping[str, Tensor]:
    """Scores of the rows of gate and up and of the columns of down, each the same along a neuron."""
    if calibration is None:
        raise DormantError("score='mnaft' looks at data: give calibration, labelled batches of the model's inputs.")
    groups = pieces_of("neurons", list(linears)).groups
    downs = {parent: weights[GATED.index("down_proj")] for parent, weights in groups.items()}
    importance = measure_importance(model, {down: linears[down] for down in downs.values()}, calibration)
    scores = {}
    for parent, down in downs.items():
        for weight in groups[parent]:
            scores[weight] = neuron_scores(importance[down], agnostic, specific, protect)
    return _Neurons(linears, scores)


def measure_importance(model: nn.Module, downs: Linears, calibration: Iterable[Batch]) -> dict[str, dict[str, Tensor]]:
    """(neurons,) by name of the down projection and kind of token: the mean of abs(h · dL/dh) over those tokens."""
    total: dict[str, dict[str, Tensor]] = {name: {} for name in downs}
    count: dict[str, int] = {}
    with captured(model, downs) as (inputs, outputs):
        for batch in calibration:
            loss = model(**batch).loss
            if loss is None:
                raise DormantError("score='mnaft' needs labels: the model returned no loss for the calibration data.")
            gradients = torch.autograd.grad(loss, list(outputs.values()))
            kinds = tokens_by_kind(model, batch)
            for kind, chosen in kinds.items():
                count[kind] = count.get(kind, 0) + int(chosen.sum())
            for name, gradient in zip(outputs, gradients, strict=True):
                effect = (inputs[name] * (gradient @ base_weight(downs[name]).to(gradient.dtype))).float().abs()
                for kind, chosen in kinds.items():
                    seen = effect[chosen].sum(0)
                    total[name][kind] = total[name].get(kind, torch.zeros_like(seen)) + seen
    if not count:
        raise DormantError("calibration is empty: score='mnaft' needs at least one batch.")
    return {name: {kind: t / max(count[kind], 1) for kind, t in found.items()} for name, found in total.items()}


def neuron_scores(importance: Mapping[str, Tensor], agnostic: float, specific: float, protect: Sequence[str]) -> Tensor:
    """Scores (neurons,) from importance (neurons,) by modality: 2 to 3 agnostic, 1 to 2 protected, 0 to 1 the rest."""
    unknown = sorted(set(protect) - set(importance))
    if unknown:
        raise DormantError(f"protect={list(protect)}: the calibration data has {', '.join(importance)} tokens only.")
    summed, largest = (reduce(torch.stack(list(importance.values())), 0) for reduce in (torch.sum, torch.amax))
    score = summed / summed.max().clamp(min=torch.finfo(summed.dtype).tiny)
    agnostic_ones = summed.argsort(descending=True, stable=True)[: round(agnostic * len(summed))]
    for modality in protect:
        score = torch.where((importance[modality] > specific * largest) & (score <= 1), score + 1, score)
    score[agnostic_ones] = score[agnostic_ones] % 1 + 2
    return score


class _Neurons(Mapping[str, Tensor]):
    def __init__(self, linears: Linears, scores: Mapping[str, Tensor]) -> None:
        self.linears, self.scores = linears, scores

    def __getitem__(self, name: str) -> Tensor:
        score, shape = self.scores[name], shape_of(self.linears[name].weight)
        return (score if name.endswith("down_proj") else score[:, None]).expand(shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self.linears)

    def __len__(self) -> int:
        return len(self.linears)
