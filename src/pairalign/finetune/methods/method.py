"""What a method decides: which weights of the language model train, what the loss adds, what is left at the end.

`bridge` trains nothing of the language model; `dormant` is `pairalign.dormant.model`; the others are baselines.
Where it bites: a penalty sees the model after the bridge's vectors are in place, as the loss does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pairalign.core.errors import ConfigError, did_you_mean
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


class Method:
    """The interface, and the method that trains nothing."""

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

    def changed(self, llm: nn.Module) -> dict[str, Tensor] | None:
        """Finished weights by name that make the plain base this model; `None` where weights are not enough."""
        return {}


register_method("bridge")(Method)


@register_method("dormant")
class Dormant(Method):
    """Dormant weights or directions; see `DormantConfig`."""

    def prepare(self, llm: nn.Module, setup: Setup) -> nn.Module:
        """A `DormantModel`."""
        given = load_scores(setup.scores) if setup.scores else None
        return get_dormant_model(llm, setup.dormant, setup.calibration, sensor=setup.sensor, scores=given)


def decoder_parameters(llm: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters of the text decoder by full name."""
    prefix = decoder_prefix(llm)
    return {name: p for name, p in llm.named_parameters() if name.startswith(prefix)}


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
