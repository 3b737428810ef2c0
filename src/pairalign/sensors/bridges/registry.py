"""Which bridges exist: "linear", "mlp" and "resampler" of the project, and what a plugin registers.

    @register_bridge("pooled")
    def pooled(sizes: BridgeSizes) -> nn.Module:
        return Pooled(sizes)                       # has `length`; SensorFeatures → (B, length, H)

Note: vectors should leave with the size of the model's own embeddings (`BridgeSizes.size`), or a frozen model drowns in
them. A pack says the bridge's name and holds its weights, never its code.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeVar, get_args

from torch import nn

from pairalign.core.errors import ConfigError, RegistryError, did_you_mean
from pairalign.sensors.bridges.bridge import Bridge, Kind

FITTED = "recomposition"  # through the model's own image projector; fitted to pictures, not built


class BridgeSizes(NamedTuple):
    """What a bridge is built from.

    Attributes:
        tokens: width D of what the encoder says of a part of the signal.
        shared: width d_s of the shared latent.
        private: width d_p of the private one, 0 for none.
        hidden: width H of the language model's embeddings.
        vectors: `sensors.NAME.tokens` of the configuration.
        size: root mean square of an entry of the model's embeddings.
    """

    tokens: int
    shared: int
    private: int
    hidden: int
    vectors: int
    size: float


BuildBridge = Callable[[BridgeSizes], nn.Module]
F = TypeVar("F", bound=BuildBridge)


def _own(kind: str, sizes: BridgeSizes) -> nn.Module:
    widths = (sizes.tokens, sizes.shared, sizes.private)
    return Bridge(widths, sizes.hidden, kind, sizes.vectors, sizes.size)


_BRIDGES: dict[str, BuildBridge] = {kind: partial(_own, kind) for kind in get_args(Kind)}


def register_bridge(name: str) -> Callable[[F], F]:
    """Register what builds a bridge, for `sensors.NAME.bridge` and packs.

    Args:
        name: what configurations call it.

    Returns:
        A decorator, which gives the function or class back.

    Raises:
        RegistryError: the name is that of another bridge.
    """

    def register(build: F) -> F:
        known = _BRIDGES.get(name)
        if name == FITTED or (known is not None and _owner(known) != _owner(build)):
            raise RegistryError(f"bridge {name!r} is registered already, by {_owner(known)}: call yours otherwise.")
        _BRIDGES[name] = build
        return build

    return register


def check_bridge(name: str, where: str) -> None:
    """Raise `ConfigError` for a bridge that nobody registered; `where` names the setting."""
    if name != FITTED and name not in _BRIDGES:
        raise ConfigError(f"{where}={name!r}: no bridge of this name.{did_you_mean(name, [*_BRIDGES, FITTED])}")


def create_bridge(name: str, sizes: BridgeSizes) -> nn.Module:
    """Build one, its weights fresh; raise `RegistryError` for a name that nobody registered, and for a bridge without
    a whole number of vectors as its `length`."""
    if name not in _BRIDGES:
        raise RegistryError(f"bridge {name!r} is unknown.{did_you_mean(name, _BRIDGES)}")
    bridge = _BRIDGES[name](sizes)
    length = getattr(bridge, "length", None)
    if not isinstance(length, int) or length < 1:
        raise RegistryError(f"bridge {name!r}: length={length!r} says how many vectors a signal takes: give 1 or more.")
    return bridge


def _owner(build: object) -> str:
    return "pairalign" if build is None or isinstance(build, partial) else str(getattr(build, "__module__", build))
