"""The packs that a run of stage two says are installed beside what it trains: `installed` of its configuration.

Note:
    Whether they fit the base shows when it is loaded (`read_reserved`), before anything is scored; here is told what
    their folders say by themselves, before that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from torch import nn

from pairalign.core.errors import ConfigError, DeltaError, DormantError
from pairalign.dormant.checkpoint import CONFIG, read_index, read_sensor
from pairalign.dormant.selection.select import count_out
from pairalign.finetune.config import RecomposeConfig


def installed_folders(config: RecomposeConfig) -> list[Path]:
    """Where the packs lie."""
    return [Path(config.root) / folder for folder in config.installed]


def check_installed(config: RecomposeConfig) -> None:
    """Raise `ConfigError` for a folder without a delta, and for a sensor that two of them have, or the run itself."""
    owner = dict.fromkeys(config.sensors, "this run")
    for folder in installed_folders(config):
        if folder.is_dir() and not (folder / CONFIG).is_file():
            raise ConfigError(f"installed: {str(folder)!r} has no {CONFIG}, and owns no weights: leave it out.")
        try:
            names = read_sensor(folder).split("+")
        except DeltaError as error:
            raise ConfigError(f"installed: {error}") from error
        for name in names:
            if name in owner:
                raise ConfigError(
                    f"installed: {str(folder)!r} is of sensor {name!r}, which {owner[name]} has too, and they could "
                    "not be installed together: name another pack."
                )
            owner[name] = repr(str(folder))


def check_room(config: RecomposeConfig, linears: Mapping[str, nn.Linear]) -> None:
    """Raise `DormantError` where whole rows or columns, of which packs that are here own some, are too few for the
    settings; by sizes alone, `DeltaError` where these are another base's."""
    here = [folder for folder in installed_folders(config) if (folder / CONFIG).is_file()]
    check_installed(replace(config, installed=tuple(map(str, here)), root="."))
    kind = {"rows": "rows", "columns": "columns"}.get(config.dormant.structure)
    for name, owned in read_pieces(here, linears).items():
        if kind not in owned:
            continue
        size = linears[name].out_features if kind == "rows" else linears[name].in_features
        left, wanted = size - len(owned[kind]), count_out(name, config.dormant.density, size, "pieces")
        if wanted > left:
            raise DormantError(
                f"installed: packs own {size - left} of {size} {kind} of {name}, and "
                f"density={config.dormant.density:g} asks for {wanted} others: lower density."
            )


def read_pieces(folders: Iterable[Path], linears: Mapping[str, nn.Linear]) -> dict[str, dict[str, set[int]]]:
    """Which rows and columns deltas own, by module name and kind; no value is read."""
    found: dict[str, dict[str, set[int]]] = {}
    for folder in folders:
        for name, (kind, shape, index) in read_index(folder).items():
            linear = linears.get(name)
            if linear is not None and shape != [linear.out_features, linear.in_features]:
                raise DeltaError(f"installed: {str(folder)!r}: {name}.weight is of another size: take that base's.")
            if linear is not None and index is not None:
                found.setdefault(name, {}).setdefault(kind, set()).update(index.tolist())
    return found
