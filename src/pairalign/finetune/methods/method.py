"""What a method decides: which weights of the language model train, what the loss adds, what is left at the end.

`bridge` trains nothing of the language model; `dormant` is `pairalign.dormant.model`; the others are baselines.
Where it bites: a penalty sees the model after the bridge's vectors are in place, as the loss does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from pairalign.core.errors import CheckpointError, ConfigError, did_you_mean
from pairalign.dormant.config import DormantConfig
from pairalign.dormant.linears import decoder_prefix
from pairalign.dormant.model import get_dormant_model
from pairalign.dormant.significance import Batch, load_scores
from pairalign.sensors.model import SensorModel

METHODS: dict[str, type[Method]] = {}


def register_method(name: str) -> Callable[[type[Method]], type[Method]]:
    """Register a `Method` under a name."""

    def register(cls: type[Method]) -> type[Method]:
        METHODS[name] = cls
        return cls

    return register


def create_method(name: str, options: Mapping[str, Any]) -> Method:
    """A method by name; raise `ConfigError` for an unknown name or option."""
    if name not in METHODS:
        raise ConfigError(f"method={name!r}.{did_you_mean(name, METHODS)}")
    try:
        return METHODS[name](**options)
    except TypeError as error:
        raise ConfigError(f"method {name!r}: options={dict(options)}: {error}.") from error


def method_names() -> list[str]:
    """Every registered method."""
    return sorted(METHODS)


class Setup(NamedTuple):
    """What a method may look at: dormant settings (they name the layers, too), batches that show what the base does,
    the sensor's name, and a significance file."""

    dormant: DormantConfig
    calibration: Iterable[Batch] | None = None
    sensor: str = "sensor"
    scores: str | None = None


Leaves = Literal["base", "delta", "weights", "modules"]


class Method:
    """The interface, and the method that trains nothing.

    leaves: what a finished model is: the "base" as it was; that and a "delta" beside it; the base's modules with other
        "weights"; or a base with "modules" more.
    """

    leaves: ClassVar[Leaves] = "base"

    def prepare(self, llm: nn.Module, setup: Setup) -> nn.Module:
        """The language model as it trains; only what is to train requires a gradient."""
        return llm.requires_grad_(False)

    def penalty(self, model: SensorModel, inputs: Batch, logits: Tensor) -> Tensor | None:
        """What is added to the loss of a batch; `logits` (B, T', V) are those of its last T' places."""
        return None

    def after_backward(self, llm: nn.Module) -> None:
        """Called after every backward pass."""

    @contextmanager
    def settled(self, llm: nn.Module) -> Iterator[None]:
        """Within it, the language model computes what it will after `finish`; what trains is as before afterwards."""
        yield

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

    def prepare(self, llm: nn.Module, setup: Setup) -> nn.Module:
        """A `DormantModel`."""
        given = load_scores(setup.scores) if setup.scores else None
        return get_dormant_model(llm, setup.dormant, setup.calibration, sensor=setup.sensor, scores=given)


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
    before = {name: p.detach().clone() for name, p in parameters.items()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(before[name])
