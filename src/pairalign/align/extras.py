"""What a user adds to Lightning's trainer: loggers by name, loggers and callbacks by the path of their class.

Note: metrics.jsonl stays what it is, whatever else is told the same figures. Loggers write below `OUT/logs`, where a
run that goes on finds what it had begun; only the first process writes.
"""

from __future__ import annotations

import csv
import importlib
import os
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from uuid import uuid4

from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.logger import Logger

from pairalign.core.author import told
from pairalign.core.errors import ConfigError, did_you_mean
from pairalign.core.registry import PLUGIN_MODULE
from pairalign.files import replacing, write_text
from pairalign.runs.folder import LOGS, LOGS_MARK

CLASSES = {"csv": "CSVLogger", "mlflow": "MLFlowLogger", "tensorboard": "TensorBoardLogger", "wandb": "WandbLogger"}
TRACKIO = (
    "trackio has no logger for Lightning: give csv, mlflow, tensorboard or wandb, or the path of a Logger of yours"
)
Entry = str | Mapping[str, Mapping[str, Any]]


class Extended(Protocol):
    """What a configuration of either stage says of it."""

    @property
    def out(self) -> str: ...

    @property
    def log(self) -> Sequence[Any]: ...

    @property
    def callbacks(self) -> Sequence[Any]: ...


class Extras(NamedTuple):
    """Made before anything long begins, so that a missing package or a wrong option ends the run then."""

    loggers: tuple[Logger, ...] = ()
    callbacks: tuple[Callback, ...] = ()


def build_extras(config: Extended) -> Extras:
    """The loggers and callbacks of a run; raise `ConfigError` that names the setting."""
    home = Path(config.out) / LOGS
    loggers = [_logger(*_named(entry), f"log.{n}", home) for n, entry in enumerate(config.log)]
    callbacks = [
        _made(find_class(name, f"callbacks.{n}", Callback), options, f"callbacks.{n}", name)
        for n, (name, options) in enumerate(map(_named, config.callbacks))
    ]
    return Extras(tuple(loggers), tuple(callbacks))


def _named(entry: Entry) -> tuple[str, dict[str, Any]]:
    if isinstance(entry, str):
        return entry, {}
    ((name, options),) = entry.items()
    return name, dict(options)


def _logger(name: str, options: dict[str, Any], where: str, home: Path) -> Logger:
    if name == "trackio":
        raise ConfigError(f"{where} is {name!r}: {TRACKIO}.")
    if name not in CLASSES and "." not in name:
        raise ConfigError(f"{where} is {name!r}.{did_you_mean(name, CLASSES)} Or the path of a class: package.Logger.")
    cls = find_class(f"lightning.pytorch.loggers.{CLASSES[name]}" if name in CLASSES else name, where, Logger)
    return _made(cls, {**_defaults(name, home), **options}, where, name)


def _defaults(name: str, home: Path) -> dict[str, Any]:
    """Where a logger writes, and which of its runs goes on."""
    run = Path(os.path.abspath(home)).parent.name
    if name in ("csv", "tensorboard"):
        return {"save_dir": str(home), "name": "", "version": name}
    if name == "wandb":
        known = _known(home / "wandb.id")
        return {"save_dir": str(home), "project": "pairalign", "name": run, "resume": "allow"} | {
            "id": known or uuid4().hex[:12]
        }
    if name == "mlflow":
        place = {} if os.environ.get("MLFLOW_TRACKING_URI") else {"save_dir": str(home / "mlruns")}
        return {"experiment_name": "pairalign", "run_name": run, "run_id": _known(home / "mlflow.id")} | place
    return {}


def _known(path: Path) -> str | None:
    return path.read_text(encoding="utf-8").strip() if path.is_file() else None


def find_class(path: str, where: str, kind: type) -> type:
    """The class at `package.module.Class`, or `plugin.Class` of a plugin file."""
    module, _, name = path.rpartition(".")
    plugin = next((m for n, m in sys.modules.items() if n.startswith(f"{PLUGIN_MODULE}{module}_")), None)
    if not module:
        raise ConfigError(f"{where} is {path!r}: give the path of a class, such as package.module.{path}.")
    try:
        found = getattr(plugin or importlib.import_module(module), name)
    except ImportError as error:
        raise ConfigError(f"{where} is {path!r}: {told(error)}: install it, or name its file as a plugin.") from error
    except AttributeError:
        raise ConfigError(f"{where} is {path!r}: {module} has no {name!r}.") from None
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise ConfigError(f"{where} is {path!r}: it is no class derived from Lightning's {kind.__name__}.")
    return found


def _made(cls: type, options: Mapping[str, Any], where: str, name: str) -> Any:
    try:
        return cls(**options)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{where} is {name!r}, whose package is missing: pip install {name}. ({told(error)})"
        ) from error
    except Exception as error:  # of wrong options, or of its author
        raise ConfigError(f"{where} is {name!r} with options {dict(options)}: {told(error)}.") from error


def begin_logs(loggers: Iterable[Logger], home: Path) -> None:
    """Go on with what was logged, in the first process; remember what a later start has to know."""
    write_text(home / LOGS_MARK, "written by pairalign: --fresh sets this folder aside with the run\n")
    for logger in loggers:
        kind = type(logger).__name__
        if isinstance(logger, CSVLogger):
            _continue_csv(logger)
        elif kind == "WandbLogger":
            write_text(home / "wandb.id", str(logger.version))
        elif kind == "MLFlowLogger":
            write_text(home / "mlflow.id", str(logger.version))


def _continue_csv(logger: CSVLogger) -> None:
    """Lightning's own would delete the table that is there."""
    path = Path(logger.log_dir) / "metrics.csv"
    before = path.read_bytes() if path.is_file() else None
    with warnings.catch_warnings(action="ignore"):
        writer = logger.experiment
    if before is not None:
        path.write_bytes(before)
        with path.open(newline="", encoding="utf-8") as file:
            writer.metrics_keys = list(csv.DictReader(file).fieldnames or ())


def cut_logs(loggers: Iterable[Logger], step: int) -> None:
    """Drop what was logged behind the checkpoint that a run goes on from, and will be logged again."""
    for path in (Path(one.log_dir) / "metrics.csv" for one in loggers if isinstance(one, CSVLogger)):
        if not path.is_file():
            continue
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            keys, rows = list(reader.fieldnames or ()), [row for row in reader if int(row["step"] or 0) <= step]
        with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, keys)
            table.writeheader()
            table.writerows(rows)


def tell(loggers: Iterable[Logger], step: int, values: Mapping[str, Any]) -> None:
    """The figures of one line of metrics.jsonl to every logger; what is no number stays there alone."""
    numbers = {name: value for name, value in values.items() if isinstance(value, int | float)}
    for logger in loggers:
        logger.log_metrics(numbers, step)
        logger.save()
