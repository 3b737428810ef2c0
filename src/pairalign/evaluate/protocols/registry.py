"""Which protocols exist: a name, what is measured, where it was published, and the function that measures it.

A protocol's file registers one function, `measure(task, **settings) -> list[Measurement]`.

Note:
    It checks labels, modalities and counts of every split first, and encodes only then; and what differs from the
    published measurement belongs into `differs`, in words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pairalign.core.errors import ConfigError
from pairalign.core.lazy import LazyEntries
from pairalign.core.parameters import Parameters, check_values, settings_of

if TYPE_CHECKING:
    from pairalign.evaluate.protocols.result import Measurement

MODULES = {
    "cross-sensor": "cross_sensor",
    "modelnet40": "modelnet40",
    "objaverse-lvis": "objaverse_lvis",
    "scanobjectnn": "scanobjectnn",
    "touch-and-go": "touch_and_go",
    "tvl": "tvl",
}

Measure = Callable[..., "list[Measurement]"]


@dataclass(frozen=True)
class Protocol:
    """One published protocol.

    title: what it measures, one line. source: the papers that define it and report on it, with arXiv numbers.
    differs: how our measurement differs from theirs on every run; what depends on the run, `measure` adds.
    measure: function(task, **settings) -> measurements. Its keyword parameters, with defaults, are the settings.
    """

    name: str
    title: str
    source: str
    measure: Measure
    differs: tuple[str, ...] = ()

    @property
    def owner(self) -> str:
        """The module that registered it."""
        return self.measure.__module__

    @property
    def settings(self) -> Parameters:
        """Parameter by setting."""
        return settings_of(self.measure, 1)


_PROTOCOLS: LazyEntries[Protocol] = LazyEntries("protocol", "pairalign.evaluate.protocols", MODULES, ConfigError)


def register_protocol(name: str, **facts: Any) -> Callable[[Measure], Measure]:
    """Register the decorated function as the `measure` of a protocol; `facts` are the other fields of `Protocol`."""

    def register(measure: Measure) -> Measure:
        _PROTOCOLS.add(name, Protocol(name=name, measure=measure, **facts))
        return measure

    return register


def find_protocol(name: str) -> Protocol:
    """The protocol of that name; raise `ConfigError` with the nearest one."""
    return _PROTOCOLS.find(name)


def known_protocols() -> dict[str, Protocol]:
    """Every protocol by name, sorted."""
    return _PROTOCOLS.every()


def check_settings(protocol: Protocol, settings: Mapping[str, Any]) -> None:
    """Raise `ConfigError` for a setting that the protocol does not have, or a value of another type than it takes."""
    check_values(protocol.settings, settings, "setting", f"protocol {protocol.name!r}", ConfigError)
