"""How a field's values become what its sensor's encoder reads, by what is known of how they were recorded.

Note:
    A sensor's make that a configuration tells is for shards whose samples say none themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from pairalign.core.encoder import Encoder
from pairalign.core.errors import ConfigError, did_you_mean
from pairalign.data.index import ModalityInfo
from pairalign.data.kinds import check_stored, with_meta


def conform_recorded(
    encoder: Encoder, stored: ModalityInfo, told: str | None, where: str
) -> Callable[[Any, Mapping[str, Any]], Any]:
    """A function from a stored value and its sample's meta to what the encoder reads. told: the sensor's make.

    Raise `SignalError` for a unit or rate that is not the encoder's, `ConfigError` for a make that it does not know.
    """
    recorded = asdict(stored)
    if told is not None:
        _check_make(encoder, told, recorded, where)
        recorded |= {"sensor": told, "told": True}
    check_stored(encoder.signal, stored, where)
    encoder.check_data(recorded, where)
    return partial(_conformed, encoder, recorded)


def _conformed(encoder: Encoder, recorded: Mapping[str, Any], value: Any, meta: Mapping[str, Any]) -> Any:
    return encoder.conform(value, with_meta(recorded, meta, encoder.sensors))


def _check_make(encoder: Encoder, told: str, recorded: Mapping[str, Any], where: str) -> None:
    """Raise `ConfigError` for a sensor's make that the encoder does not know, or that its samples say themselves."""
    if not encoder.sensors:
        raise ConfigError(f"{where}: sensor={told!r}, and its encoder tells no sensors apart: leave sensor out.")
    if told not in (*encoder.sensors, "unknown"):
        known = ", ".join(encoder.sensors)
        hint = did_you_mean(told, encoder.sensors)
        raise ConfigError(f"{where}: sensor={told!r}, and its encoder knows {known}.{hint} Name one, or 'unknown'.")
    if "sensor" in recorded["parts"]:
        raise ConfigError(f"{where}: sensor={told!r}: its samples name their own sensors: leave it out.")
