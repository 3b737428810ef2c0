"""A sensor's delta on disk: replacement values in the base's dtype, where they belong, and which base they fit.

`dormant_config.json` holds the settings, what the weights were chosen by (`origin`), the format version, and for every
weight its shape, kind and the SHA-256 of the base's bytes; `dormant_model.safetensors` the values, their places (rows
and columns as positions, entries as `places` encodes them), and what tells the same base in other numbers (see
`fitting`). Nothing is ever unpickled.

Note:
    Fp32 masters are rounded to the base's dtype, which is what acts; to go on training exactly, keep a checkpoint of
    the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from pairalign.core.config import load_config, to_dict
from pairalign.core.errors import DeltaError
from pairalign.core.names import names_module
from pairalign.core.record import as_record, read_record
from pairalign.dormant.config import DormantConfig
from pairalign.dormant.directions import Direction
from pairalign.dormant.fitting import CELLS, about_weight, cells_of, find_fitting
from pairalign.dormant.layer import DormantLinear
from pairalign.dormant.quantised import dtype_of
from pairalign.dormant.selection.encoding import Code, decode_places
from pairalign.dormant.selection.mask import Mask
from pairalign.dormant.updates import Columns, Entries, Replacement, Rows
from pairalign.files import save_tensors, write_json
from pairalign.sharding import whole

FORMAT = 1
CONFIG, WEIGHTS = "dormant_config.json", "dormant_model.safetensors"


class Adapted(Protocol):
    """What a delta is taken from or put into: `DormantModel`."""

    base_model: nn.Module
    dormant: dict[str, DormantConfig]
    origins: dict[str, dict[str, Any]]

    def requires_grad_(self, requires_grad: bool = True) -> Any: ...

    def updates(self, sensor: str) -> Mapping[str, Replacement | Direction]: ...

    def add(
        self,
        sensor: str,
        config: DormantConfig,
        updates: Mapping[str, Replacement | Direction],
        origin: Mapping[str, Any] | None = None,
    ) -> None: ...


def save_delta(model: Adapted, sensor: str, folder: Path) -> None:
    """Write the delta of one sensor into a folder, each file under a temporary name first."""
    folder.mkdir(parents=True, exist_ok=True)
    weights, tensors = delta_parts(model, sensor)
    about = {"config": to_dict(model.dormant[sensor]), "origin": model.origins[sensor]}
    record = {"format": FORMAT, "sensor": sensor, **about, "weights": weights}
    save_tensors(folder / WEIGHTS, tensors, {"format": "pt"})
    write_json(folder / CONFIG, record)


def load_delta(model: Adapted, folder: Path, trainable: bool = False) -> None:
    """Install the delta of a folder; raise `DeltaError`, before anything is changed, if it does not fit the model."""
    record = _read_config(folder)
    config = load_config(DormantConfig, record["config"])
    with _reading(folder / WEIGHTS) as tensors:
        updates = delta_updates(model.base_model, record["weights"], tensors, trainable)
    model.add(record["sensor"], config, updates, record.get("origin"))  # all of it or nothing: the flags come after
    model.requires_grad_(False)
    for update in updates.values():
        update.values.requires_grad_(trainable)


def read_sensor(folder: Path) -> str:
    """The sensor that the delta of a folder is of; raise `DeltaError` where there is none."""
    return str(_read_config(folder)["sensor"])


def read_index(folder: Path) -> dict[str, tuple[str, list[int], Tensor | None]]:
    """What the delta of a folder says of each weight by module name: kind, shape, and which rows or columns it trains,
    `None` for other kinds; no value is read. Raise `DeltaError` where there is none."""
    weights = _read_config(folder)["weights"]
    with _reading(folder / WEIGHTS, ".index") as tensors:
        return {n: (about["kind"], about["shape"], tensors.get(f"{n}.index")) for n, about in weights.items()}


def load_places(
    base: nn.Module, folder: Path, dtype: torch.dtype | None = None
) -> tuple[dict[str, Mask | Tensor], dict[str, Any]]:
    """What the delta of a folder trains by module name, masks or bases of directions, and its origin; its values aside,
    and the base unchanged. dtype: that the base's weights are yet to be converted to; `None` as they are.

    Raise `DeltaError` if it does not fit.
    """
    record, modules = _read_config(folder), dict(base.named_modules())
    with _reading(folder / WEIGHTS) as tensors:
        find_fitting(modules, record["weights"], _cells(tensors), dtype)
        found = {}
        for name, about in record["weights"].items():
            found[name] = _place(about, {key.rpartition(".")[2]: t for key, t in tensors.items() if _of(key, name)})
    return found, dict(record.get("origin") or {})


@contextmanager
def _reading(path: Path, ending: str = "") -> Iterator[dict[str, Tensor]]:
    """The tensors of a file whose names end so; `DeltaError` if they are not there, or not what the block expects."""
    try:
        with safe_open(path, "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys() if key.endswith(ending)}  # noqa: SIM118
        yield tensors
    except (SafetensorError, OSError, KeyError, RuntimeError, IndexError, ValueError, TypeError) as error:
        raise DeltaError(f"{path} is damaged or incomplete ({error}): copy it again.") from error


def delta_parts(model: Adapted, sensor: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a delta holds of one sensor: about every weight, and tensors by `module.part`."""
    tensors: dict[str, Tensor] = {}
    weights: dict[str, Any] = {}
    modules = dict(model.base_model.named_modules())
    for name, update in model.updates(sensor).items():
        layer = modules[name]
        assert isinstance(layer, DormantLinear)
        weights[name] = {"kind": _kind(update), **about_weight(layer.weight)}
        for part, tensor in _parts(update, dtype_of(layer.weight)).items():
            tensors[f"{name}.{part}"] = tensor.cpu().contiguous()
        tensors[f"{name}.{CELLS}"] = cells_of(layer.weight)
    return weights, tensors


def delta_updates(
    base: nn.Module, weights: dict[str, Any], tensors: dict[str, Tensor], trainable: bool = False
) -> dict[str, Replacement | Direction]:
    """Updates by module name out of what `delta_parts` gave; raise `DeltaError` where the base is another."""
    modules, updates = dict(base.named_modules()), {}
    fitting = find_fitting(modules, weights, _cells(tensors))
    for name, about in weights.items():
        linear = fitting[name]
        parts = {key.rpartition(".")[2]: tensor for key, tensor in tensors.items() if _of(key, name)}
        updates[name] = _update(linear, about, parts)
        updates[name].values.requires_grad_(trainable)
    return updates


def _kind(update: Replacement | Direction) -> str:
    return type(update).__name__.lower()


def _parts(update: Replacement | Direction, dtype: torch.dtype) -> dict[str, Tensor]:
    if isinstance(update, Direction):
        return {"values": whole(update.values.detach()), "basis": update.basis}
    values = whole(update.values.detach()).to(dtype)
    if isinstance(update, Entries):
        return {"values": values, update.code: update.places}
    assert isinstance(update, Rows | Columns)
    return {"values": values, "index": update.index.to(torch.int32)}


def _update(linear: nn.Linear, about: dict[str, Any], parts: dict[str, Tensor]) -> Replacement | Direction:
    """The update of one layer, from its stored parts."""
    if about["kind"] == "direction":
        update: Replacement | Direction = Direction(linear.out_features, parts["basis"].to(linear.weight.device))
    elif about["kind"] == "entries":
        update = Entries(linear.weight, _marked(parts, linear.weight.numel()).view(linear.weight.shape))
    else:
        update = {"rows": Rows, "columns": Columns}[about["kind"]](linear.weight, parts["index"].long())
    if update.values.shape != parts["values"].shape:
        raise RuntimeError(f"values of shape {tuple(parts['values'].shape)} for {tuple(update.values.shape)} places")
    update.values.data.copy_(parts["values"])
    return update


def _place(about: dict[str, Any], parts: dict[str, Tensor]) -> Mask | Tensor:
    """Where the update of one layer acts."""
    rows, columns = about["shape"]
    if about["kind"] == "direction":
        return parts["basis"].clone()
    if about["kind"] == "entries":
        return Mask("entries", (rows, columns), _marked(parts, rows * columns).view(rows, columns))
    return Mask(about["kind"], (rows, columns), parts["index"].long())


def _marked(parts: dict[str, Tensor], count: int) -> Tensor:
    """bool (count,) of the flat weight."""
    code: Code = "bits" if "bits" in parts else "gaps"
    return torch.zeros(count, dtype=torch.bool).index_fill_(0, decode_places(code, parts[code]), True)


def _cells(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The intervals that tell the base in other numbers, by module name."""
    return {name: t for key, t in tensors.items() for name, _, part in [key.rpartition(".")] if part == CELLS}


def _of(key: str, name: str) -> bool:
    return key.rpartition(".")[0] == name


@dataclass(frozen=True)
class _Weight:
    """What CONFIG says of one weight, by type."""

    kind: Literal["rows", "columns", "entries", "direction"]
    shape: tuple[int, int]
    dtype: str
    sha256: str
    form: str | None = None


@dataclass(frozen=True)
class _Record:
    """What CONFIG says, by type; `config` is checked as a `DormantConfig`."""

    sensor: str
    config: dict[str, Any]
    weights: dict[str, _Weight]
    origin: dict[str, Any] | None = None


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        record = read_record(path, dict[str, Any])
        found = record["format"]
        if found == FORMAT:
            sensor = as_record(record, _Record).sensor
            if not names_module(sensor):
                raise ValueError(f"it is of a sensor called {sensor!r}")
    except FileNotFoundError as error:
        raise DeltaError(f"{path} is missing: give a folder that save_pretrained wrote.") from error
    except (OSError, ValueError, KeyError) as error:
        raise DeltaError(f"{path} is damaged ({error!r}): copy it again.") from error
    if found != FORMAT:
        raise DeltaError(f"{path} has format {found!r}, this version reads {FORMAT}: install a newer pairalign.")
    return record
