"""Significance scores by weight name, computed one matrix at a time: high is critical, low is dormant.

Most scores are `abs(W)` times a factor of each input and of each output, so that what has to be remembered while the
calibration data pass is two vectors a layer. A score is a mapping; asking it for a weight computes that matrix.

Note:
    A mapping looks at the model's weights when it is asked, so choose before anything is trained.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pairalign.core.errors import DormantError, did_you_mean
from pairalign.core.parameters import check_values, settings_of
from pairalign.dormant.provenance import tasks_of
from pairalign.dormant.quantised import dense, shape_of

Batch = Mapping[str, Any]
Linears = Mapping[str, nn.Linear]
ScoreFunction = Callable[..., Mapping[str, Tensor]]

_SCORES: dict[str, ScoreFunction] = {}
_BY_TASK: set[str] = set()


def register_score(name: str, *, by_task: bool = False) -> Callable[[ScoreFunction], ScoreFunction]:
    """Register `function(model, linears, calibration, *, seed, **options) -> scores` under a name.

    by_task: whether it tells the calibration's tasks apart, which `tasks_of` then says.
    """

    def register(function: ScoreFunction) -> ScoreFunction:
        if name in _SCORES:
            raise DormantError(f"score {name!r} is registered already, by {_SCORES[name].__module__}.")
        _SCORES[name] = function
        if by_task:
            _BY_TASK.add(name)
        return function

    return register


def score_model(
    name: str,
    model: nn.Module,
    linears: Linears,
    calibration: Iterable[Batch] | None = None,
    *,
    seed: int = 0,
    **options: Any,
) -> Mapping[str, Tensor]:
    """Scores (out, in), float32, of the weights of `linears`, by module name.

    calibration: batches of the model's keyword arguments, for the scores that look at data. Raise `DormantError` for
    an unknown score or option, and for calibration data that is missing or empty.
    """
    check_score(name, options)
    return _SCORES[name](model, linears, placed(calibration, model), seed=seed, **options)


def compares_tasks(name: str) -> bool:
    """Whether a score tells the calibration's tasks apart, so that it is another one for other tasks."""
    return name in _BY_TASK


def check_score(name: str, options: Mapping[str, Any]) -> None:
    """Raise `DormantError` for a score that is not registered, or an option that it does not take, or not as this."""
    if name not in _SCORES:
        raise DormantError(f"score={name!r}.{did_you_mean(name, _SCORES)}")
    accepted = inspect.signature(_SCORES[name]).parameters
    first = sum(p.kind is not p.KEYWORD_ONLY and p.kind is not p.VAR_KEYWORD for p in accepted.values())
    known = {option: p for option, p in settings_of(_SCORES[name], first).items() if option != "seed"}
    free = any(p.kind is p.VAR_KEYWORD for p in accepted.values())
    given = {option: value for option, value in options.items() if option in known or not free}
    check_values(known, given, "option", f"score {name!r}", DormantError)


def placed(calibration: Iterable[Batch] | None, model: nn.Module) -> Iterable[Batch] | None:
    """The same batches, each on the model's device when it is its turn."""
    return None if calibration is None else _Placed(calibration, next(model.parameters()).device)


class _Placed(Iterable[Batch]):
    def __init__(self, batches: Iterable[Batch], device: torch.device) -> None:
        self.batches, self.device, self.tasks = batches, device, tasks_of(batches)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.batches:
            yield {name: v.to(self.device) if isinstance(v, Tensor) else v for name, v in batch.items()}


class Factored(Mapping[str, Tensor]):
    """Scores `abs(W) · outputs · inputs`. outputs (out,) and inputs (in,) by module name; what is missing is 1.

    of_weight: whether abs(W) is a factor; without it a score is of whole outputs or inputs, such as neurons.
    """

    of_weight = True

    def __init__(
        self, linears: Linears, inputs: Mapping[str, Tensor] | None = None, outputs: Mapping[str, Tensor] | None = None
    ) -> None:
        self.linears, self.inputs, self.outputs = linears, inputs or {}, outputs or {}

    def __getitem__(self, name: str) -> Tensor:
        weight = base_weight(self.linears[name])
        return factored(
            weight if self.of_weight else torch.ones_like(weight), self.inputs.get(name), self.outputs.get(name)
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self.linears)

    def __len__(self) -> int:
        return len(self.linears)


def factored(weight: Tensor, inputs: Tensor | None = None, outputs: Tensor | None = None) -> Tensor:
    """abs(W) (out, in) times inputs (in,) and outputs (out,), float32."""
    score = weight.abs().float()
    if inputs is not None:
        score = score * inputs.to(score.device)
    return score if outputs is None else score * outputs.to(score.device)[:, None]


def base_weight(linear: nn.Linear) -> Tensor:
    """A layer's whole weight (out, in), of which sensors leave every entry as it is; a quantised one dequantised."""
    return dense(linear.weight)


class ScoresOf(Mapping[str, Tensor]):
    """The scores of some layers, in the order of the layers; raise `DormantError` if one is missing or misshapen."""

    def __init__(self, linears: Linears, scores: Mapping[str, Tensor]) -> None:
        missing = [name for name in linears if name not in scores]
        if missing:
            raise DormantError(
                f"scores: {missing[0]} and {len(missing) - 1} more layers are missing. Score the same target_modules."
            )
        bind = getattr(scores, "of", None)  # scores of a file may be factors of the layers' weights
        self.linears, self.scores = linears, scores if bind is None else bind(linears)

    def __getitem__(self, name: str) -> Tensor:
        score, weight = self.scores[name], self.linears[name].weight
        if tuple(score.shape) != shape_of(weight):
            raise DormantError(f"score of {name} has shape {tuple(score.shape)}, its weight {shape_of(weight)}.")
        return score.to(weight.device)

    def __iter__(self) -> Iterator[str]:
        return iter(self.linears)

    def __len__(self) -> int:
        return len(self.linears)


@torch.no_grad()
def run_calibration(
    model: nn.Module,
    linears: Linears,
    calibration: Iterable[Batch] | None,
    see: Callable[[str, Tensor, Batch], None],
    score: str,
) -> int:
    """Run every batch once; `see(name, x, batch)` gets the input (B, T, in) of every layer. Returns the batches."""
    if calibration is None:
        raise DormantError(f"score={score!r} looks at data: give calibration, batches of the model's inputs.")
    current: dict[str, Batch] = {}
    count, training = 0, model.training
    handles = [
        module.register_forward_pre_hook(lambda _, args, name=name: see(name, args[0], current["batch"]))
        for name, module in linears.items()
    ]
    try:
        model.eval()
        for batch in calibration:
            current["batch"] = batch
            model(**batch)
            count += 1
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    if not count:
        raise DormantError(f"calibration is empty: score={score!r} needs at least one batch.")
    return count


def real_tokens(inputs: Tensor, batch: Batch) -> Tensor:
    """(N, in): the inputs (B, T, in) without padding, as the batch's attention mask says."""
    mask = batch.get("attention_mask")
    if mask is None or inputs.ndim != 3 or mask.shape != inputs.shape[:2]:
        return inputs.flatten(0, -2)
    return inputs[mask.bool()]
