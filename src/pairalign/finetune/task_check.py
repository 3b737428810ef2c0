"""What a task asks of its shards, checked against their index before anything is read.

Note:
    Which formats are texts and which are arrays is said here, by what is stored, not by what it holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pairalign.core.errors import ConfigError, DataError, did_you_mean
from pairalign.data.formats import SOUNDS
from pairalign.data.index import ShardIndex
from pairalign.data.place import ShardPlace
from pairalign.finetune.config import TaskConfig
from pairalign.finetune.labels import LABEL, check_labels, stored_fields
from pairalign.sensors.prompt import FIELD

TEXTS, ARRAYS = {"txt", "json"}, {"npy", *SOUNDS}  # stored formats


def check_fields(name: str, config: TaskConfig, index: ShardIndex, folder: ShardPlace, sensors: Sequence[str]) -> None:
    """Raise `ConfigError` for a field that the shards do not hold, or a sensor that the model does not have."""
    if LABEL in FIELD.findall(config.prompt + config.answer):
        check_labels(index, f"task {name!r}: {{label}}: {str(folder)!r}")
    for field in (*stored_fields(config.prompt), *stored_fields(config.answer), *config.signals):
        if field not in index.modalities:
            hint = did_you_mean(field, index.modalities)
            raise ConfigError(f"task {name!r}: {str(folder)!r} holds no field {field!r}.{hint}")
    for field, sensor in config.signals.items():
        if sensor not in sensors:
            raise ConfigError(f"task {name!r}: field {field!r} is of sensor {sensor!r}.{did_you_mean(sensor, sensors)}")


def check_kinds(name: str, config: TaskConfig, index: ShardIndex, sensor: Mapping[str, str], answered: bool) -> None:
    """Raise `ConfigError` for an answer that is none, or that is no text, and for an array that no sensor reads."""
    if answered and not config.answer.strip():
        raise ConfigError(f"task {name!r}: answer is empty: give a text or a field such as '{{answer}}'.")
    for field in stored_fields(config.answer):
        if not set(index.modalities[field].ext) <= TEXTS:
            kinds = ", ".join(index.modalities[field].ext)
            raise ConfigError(f"task {name!r}: answer={config.answer!r}: field {field!r} is {kinds}, and no text.")
    for field in stored_fields(config.prompt):
        if field not in sensor and not set(index.modalities[field].ext).isdisjoint(ARRAYS):
            raise unreadable(name, field)


def check_split(name: str, config: TaskConfig, index: ShardIndex, folder: ShardPlace) -> None:
    """Raise `ConfigError` for a split that is not there, or a limit that leaves nothing of it."""
    if config.limit is not None and config.limit < 1:
        raise ConfigError(f"task {name!r}: limit={config.limit}: give at least 1, or null for all samples.")
    try:
        index.split(config.split, folder)
    except DataError as error:
        raise ConfigError(f"task {name!r}: split={config.split!r}: {error}") from error


def unreadable(name: str, field: str) -> ConfigError:
    """The error of a field that is no text, no picture and no sensor's."""
    return ConfigError(
        f"task {name!r}: field {field!r} is neither picture nor text: name its sensor in signals, as in "
        f"signals={{{field}: …}}."
    )
