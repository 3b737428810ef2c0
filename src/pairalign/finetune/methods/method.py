"""What a method decides: which weights of the language model train, what the loss adds, what is left at the end.

`bridge` trains nothing of the language model; `dormant` is `pairalign.dormant.model`; the others are baselines.

Note:
    A penalty sees the model after the bridge's vectors are in place, as the loss does; and it is weighted as the loss
    is, by its batch's share of the answer tokens of its optimizer step, and so is what a larger batch gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from pairalign.core.config import to_dict
from pairalign.core.errors import CheckpointError, ConfigError, did_you_mean
from pairalign.core.parameters import check_values, settings_of
from pairalign.dormant.cache import cached_scores, key_of
from pairalign.dormant.config import DormantConfig
from pairalign.dormant.linears import decoder_prefix, find_linears
from pairalign.dormant.model import DormantModel, get_dormant_model
from pairalign.dormant.provenance import tasks_of
from pairalign.dormant.pulled import End, update_ends
from pairalign.dormant.reserved import Reserved
from pairalign.dormant.selection.select import UNSCORED
from pairalign.dormant.significance import Batch, load_scores, score_model
from pairalign.dormant.significance.scores import Linears, compares_tasks
from pairalign.finetune.chosen import load_chosen
from pairalign.finetune.collator import Batch as Taught
from pairalign.masters import exact, write
from pairalign.sensors.model import SensorModel

METHODS: dict[str, type[Method]] = {}


def register_method(name: str) -> Callable[[type[Method]], type[Method]]:
    """Register a `Method` under a name."""

    def register(cls: type[Method]) -> type[Method]:
        METHODS[name] = cls
        return cls

    return register


def create_method(name: str, options: Mapping[str, Any]) -> Method:
    """A method by name; raise `ConfigError` for an unknown name or option, and for a value that an option has not."""
    if name not in METHODS:
        raise ConfigError(f"method={name!r}.{did_you_mean(name, METHODS)}")
    init = METHODS[name].__init__
    taken = {} if init is object.__init__ else settings_of(init, 1)
    known = {option: one for option, one in taken.items() if one.kind is not one.VAR_KEYWORD}
    named = {option: value for option, value in options.items() if option in known or len(known) == len(taken)}
    check_values(known, named, "option", f"method {name!r}", ConfigError)
    return METHODS[name](**options)


def method_names() -> list[str]:
    """Every registered method."""
    return sorted(METHODS)


def beside_base() -> list[str]:
    """Methods that write no weight of the base."""
    return [name for name in method_names() if METHODS[name].leaves in ("base", "delta")]


class Setup(NamedTuple):
    """What a method may look at: dormant settings (they name the layers, too), batches that show what the base does,
    the sensor's name, a significance file, a folder that keeps scores, one with what an interrupted run had chosen,
    whether this process writes scores, what installed packs own, and whether what trains is to be remembered as it was,
    see `Method.ends`."""

    dormant: DormantConfig
    calibration: Iterable[Batch] | None = None
    sensor: str = "sensor"
    scores: str | None = None
    cache: Path | None = None
    chosen: Path | None = None
    write: bool = False
    reserved: Reserved | None = None
    remember: bool = False

    def key(self) -> str:
        """A hash of what dormant weights are chosen by, the base aside."""
        batches = None if self.calibration is None else [dict(batch) for batch in self.calibration]
        beside: list[Any] = [] if self.reserved is None else [self.reserved.sha256]
        beside += [tasks_of(self.calibration)] if compares_tasks(self.dormant.score) else []
        return key_of([to_dict(self.dormant), self.sensor, self.scores, batches, *beside])[:16]

    def score(self, name: str, llm: nn.Module, linears: Linears, **options: Any) -> Mapping[str, Tensor]:
        """Scores of the base on the calibration batches, from the cache where there is one."""
        if self.cache is None:
            return score_model(name, llm, linears, self.calibration, **options)
        seed = options.pop("seed", 0)
        told: dict[str, Any] = {"seed": seed, "options": options, "write": self.write}
        return cached_scores(self.cache, name, llm, linears, self.calibration, **told)


Leaves = Literal["base", "delta", "weights", "modules"]


class Left(NamedTuple):
    """What a finished run left, from which another one goes on: its folder, what `changed` and `carried` gave, and
    whether what it trained beside the base trains on ("same") or something new does."""

    folder: Path
    changed: Mapping[str, Tensor]
    carried: Mapping[str, Tensor]
    updates: Literal["same", "new"] = "same"


class Method:
    """The interface, and the method that trains nothing.

    leaves: what a finished model is: the "base" as it was; that and a "delta" beside it; the base's modules with other
        "weights"; or a base with "modules" more.
    """

    leaves: ClassVar[Leaves] = "base"

    @classmethod
    def default_lr(cls, dormant: DormantConfig) -> float:
        """The learning rate of the language model's weights where a configuration gives none."""
        return 1e-4

    def prepare(self, llm: nn.Module, setup: Setup) -> nn.Module:
        """The language model as it trains; only what is to train requires a gradient."""
        return llm.requires_grad_(False)

    def proceed(self, llm: nn.Module, setup: Setup, left: Left) -> nn.Module:
        """As `prepare`, of a base that it gives what a run before has left; raise `ConfigError` where it cannot."""
        return self.prepare(write_weights(llm, left.changed), setup)

    def carried(self) -> dict[str, Tensor]:
        """What `proceed` needs beside what a finished run leaves anyway; asked after `finish`."""
        return {}

    def penalty(self, model: SensorModel, batch: Taught, logits: Tensor, labels: Tensor) -> Tensor | None:
        """What is added to the loss of a batch: a mean over its answer tokens, or a number that weights alone decide.

        logits (B, K, V) predict labels (B, K), which hold `IGNORED` where there is no answer.
        """
        return None

    def after_backward(self, llm: nn.Module) -> None:
        """Called once an optimizer step, when its gradients are whole and not yet clipped."""

    @contextmanager
    def settled(self, llm: nn.Module) -> Iterator[None]:
        """Within it, the language model computes what it will after `finish`; what trains is as before afterwards."""
        yield

    @contextmanager
    def as_base(self, llm: nn.Module) -> Iterator[bool]:
        """Within it, before the first step, the language model computes what the base did before `prepare`; gives
        whether it does to the bit, which a method that rewrites the base cannot promise."""
        yield True

    @property
    def can_pull_back(self) -> bool:
        """Whether it changes the language model, and can say in `ends` from what."""
        return False

    def remember(self, llm: nn.Module) -> None:
        """Keep what is to change as it is before training, for `ends`; `prepare` does so where the set-up asks."""

    def ends(self, llm: nn.Module) -> Iterator[End]:
        """Every tensor that makes the language model another than the base, as it is within `settled` and after
        `finish`, and what it was; after `remember`."""
        return iter(())

    @property
    def keeps_base(self) -> bool:
        """Whether the base can be asked while the model trains, see `base_beside`."""
        return False

    @contextmanager
    def base_beside(self, llm: nn.Module) -> Iterator[nn.Module]:
        """Within it, at any step, what it gives is a language model that computes what the base did."""
        raise ConfigError(f"method {type(self).__name__} keeps no base to be asked while it trains.")
        yield llm

    def finish(self, llm: nn.Module) -> nn.Module:
        """The language model as it is used; called once, after training."""
        return llm

    def state(self) -> dict[str, Tensor]:
        """What `finish` needs beside the weights and training has gathered, for checkpoints."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """What `state` gave."""

    def changed(self, llm: nn.Module) -> dict[str, Tensor]:
        """Finished weights by name that make the base, once more prepared if there are more modules, this model."""
        return {}

    def restore(self, llm: nn.Module, changed: Mapping[str, Tensor]) -> nn.Module:
        """The base with what `changed` gave; raise `CheckpointError` where it does not fit."""
        return write_weights(llm, changed)


register_method("bridge")(Method)


@register_method("dormant")
class Dormant(Method):
    """Dormant weights or directions; see `DormantConfig`."""

    leaves = "delta"

    @classmethod
    def default_lr(cls, dormant: DormantConfig) -> float:
        """Ten times as much where no prompt without the sensor can notice."""
        return 1e-3 if dormant.acts == "sensor" else 1e-4

    def prepare(self, llm: nn.Module, setup: Setup) -> nn.Module:
        """A `DormantModel`, with the places that an interrupted run had chosen where there are some."""
        if setup.chosen is not None:
            found = load_chosen(setup.chosen, setup.key(), llm)
            if found is not None:
                return found
        given = load_scores(setup.scores) if setup.scores else self._cached(llm, setup)
        how: dict[str, Any] = {"sensor": setup.sensor, "scores": given, "reserved": setup.reserved}
        return get_dormant_model(llm, setup.dormant, setup.calibration, **how)

    def proceed(self, llm: nn.Module, setup: Setup, left: Left) -> nn.Module:
        """Values where they were chosen for the run before, rounded to the base's dtype, as that run left them."""
        return DormantModel.from_pretrained(llm, left.folder / "dormant", trainable=True)

    @contextmanager
    def as_base(self, llm: nn.Module) -> Iterator[bool]:
        """Without its updates."""
        with cast("DormantModel", llm).disable_adapter():
            yield True

    @property
    def can_pull_back(self) -> bool:
        """Values that stand beside the base's."""
        return True

    def ends(self, llm: nn.Module) -> Iterator[End]:
        """The values of its sensor, which trained last."""
        model = cast("DormantModel", llm)
        return update_ends(model.base_model, next(reversed(model.dormant)))

    @property
    def keeps_base(self) -> bool:
        """The model without its updates."""
        return True

    @contextmanager
    def base_beside(self, llm: nn.Module) -> Iterator[nn.Module]:
        """Without its updates."""
        with cast("DormantModel", llm).disable_adapter():
            yield llm

    def _cached(self, llm: nn.Module, setup: Setup) -> Mapping[str, Tensor] | None:
        which = setup.dormant
        if setup.cache is None or which.structure in UNSCORED:
            return None
        linears = find_linears(llm, which.target_modules, which.exclude_modules, which.layers_to_transform)
        return setup.score(which.score, llm, linears, seed=which.seed, **which.options)


def decoder_parameters(llm: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters of the text decoder by full name."""
    prefix = decoder_prefix(llm)
    return {name: p for name, p in llm.named_parameters() if name.startswith(prefix)}


@torch.no_grad()
def write_weights(llm: nn.Module, changed: Mapping[str, Tensor]) -> nn.Module:
    """Write weights by name, all of them, into a model; raise `CheckpointError`, with nothing written, if one is of
    another model."""
    own = dict(llm.named_parameters())
    for name, value in changed.items():
        if name not in own or own[name].shape != value.shape:
            raise CheckpointError(f"trained weight {name} of shape {tuple(value.shape)} is of another base: load that.")
    for name, value in changed.items():
        own[name].copy_(value)
    return llm


@contextmanager
def remembered(parameters: Mapping[str, Tensor]) -> Iterator[None]:
    """Parameters that are changed within it and are what they were afterwards, bit for bit."""
    before = {name: exact(p).clone() for name, p in parameters.items()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, parameter in parameters.items():
                write(parameter, before[name])
