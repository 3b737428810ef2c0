"""What a dormant configuration would train, need and save, before anything is changed.

Note:
    Choosing may look at calibration data, so a plan costs what scoring costs; it trains nothing and leaves the model as
    it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from pairalign.dormant.choose import check_forms, choose_masks
from pairalign.dormant.config import DormantConfig
from pairalign.dormant.directions import Direction
from pairalign.dormant.fitting import PLACES
from pairalign.dormant.linears import find_linears
from pairalign.dormant.model import DormantModel
from pairalign.dormant.quantised import dtype_of
from pairalign.dormant.selection.encoding import encode_places
from pairalign.dormant.selection.mask import Mask
from pairalign.dormant.selection.relevant import NeuronLayer, check_choice, neuron_layers, neuron_rows
from pairalign.dormant.selection.select import check_settings, count_out
from pairalign.dormant.significance import Batch, check_score, score_model

TRAIN_BYTES = 16  # fp32 master, gradient and two moments of Adam


@dataclass(frozen=True)
class LayerPlan:
    """One layer: its entries, how many train, bytes of places, bytes of copies that training keeps, bytes of the
    delta, and the bytes that training takes for each value."""

    name: str
    entries: int
    trained: int
    places: int
    kept: int
    delta: int
    each: int = TRAIN_BYTES

    @property
    def memory(self) -> int:
        """Bytes beside the base while it trains with Adam: masters, gradients, moments, places, copies."""
        return self.each * self.trained + self.places + self.kept


@dataclass(frozen=True)
class DormantPlan:
    """All layers of a plan, and what a score that marks neurons says of each MLP; `str` of it is a table."""

    layers: tuple[LayerPlan, ...]
    neurons: tuple[NeuronLayer, ...] = ()

    def __str__(self) -> str:
        rows = [["layer", "entries", "trained", "share", "memory", "delta"]]
        entries, trained, memory, delta = (
            sum(values)
            for values in zip(*((x.entries, x.trained, x.memory, x.delta) for x in self.layers), strict=True)
        )
        for name, *numbers in [
            *((x.name, x.entries, x.trained, x.memory, x.delta) for x in self.layers),
            ("all", entries, trained, memory, delta),
        ]:
            rows.append(_row(name, *numbers))
        tables = [aligned(rows), *([aligned(neuron_rows(self.neurons))] if self.neurons else [])]
        return "\n\n".join("\n".join(line.rstrip() for line in table) for table in tables)


def plan_dormant(model: nn.Module, config: DormantConfig, calibration: Iterable[Batch] | None = None) -> DormantPlan:
    """Choose as `get_dormant_model` would, and say what that means; the model is left as it was.

    Raise `DormantError` where that would.
    """
    check_settings(config.structure, config.counted, config.density)
    check_score(config.score, config.options)
    base = model.base_model if isinstance(model, DormantModel) else model
    linears = find_linears(base, config.target_modules, config.exclude_modules, config.layers_to_transform)
    check_forms(linears, config.structure)
    if config.structure == "directions":
        return DormantPlan(tuple(plan_directions(name, module, config.density) for name, module in linears.items()))
    check_choice(config.score, config.structure, config.choose)
    scores = None
    if config.structure != "matrices":
        scores = score_model(config.score, base, linears, calibration, seed=config.seed, **config.options)
    masks = choose_masks(base, linears, config, calibration, scores)
    return DormantPlan(tuple(_layer(n, linears[n], mask) for n, mask in masks.items()), neuron_layers(scores))


def plan_installed(model: DormantModel) -> tuple[LayerPlan, ...]:
    """The layers of a model whose updates are in place, as `plan_dormant` would have told of them."""
    modules, found = dict(model.base_model.named_modules()), []
    for name, update in ((n, u) for sensor in model.dormant for n, u in model.updates(sensor).items()):
        linear = modules[name]
        assert isinstance(linear, nn.Linear)
        if isinstance(update, Direction):
            found.append(_directions(name, linear, update.values.shape[1]))
        else:
            found.append(_layer(name, linear, update.mask()))
    return tuple(found)


def _layer(name: str, linear: nn.Linear, mask: Mask) -> LayerPlan:
    size, entries = dtype_of(linear.weight).itemsize, linear.in_features * linear.out_features
    if mask.kind == "entries":
        held = stored = encode_places(mask.index)[1].numel()
    else:
        held, stored = piece_bytes(len(mask.index))
    kept = rounded_bytes(mask.count, dtype_of(linear.weight), mask.kind == "entries")
    return LayerPlan(name, entries, mask.count, held, kept, size * mask.count + stored + cell_bytes(entries))


def rounded_bytes(count: int, dtype: torch.dtype, entries: bool) -> int:
    """Bytes of values rounded to the base's dtype, which rows and columns keep for the backward pass."""
    return 0 if entries or dtype == torch.float32 else dtype.itemsize * count


def piece_bytes(count: int) -> tuple[int, int]:
    """Bytes of the places of whole rows or columns, in memory and on disk."""
    return 8 * count, 4 * count


def cell_bytes(entries: int) -> int:
    """Bytes on disk of what tells a base weight in other numbers."""
    return 8 * min(PLACES, entries)


def plan_directions(name: str, linear: nn.Linear, density: float) -> LayerPlan:
    """A layer of `structure="directions"`, whose counts no score decides."""
    return _directions(name, linear, count_out(name, density, linear.in_features, "input directions"))


def _directions(name: str, linear: nn.Linear, rank: int) -> LayerPlan:
    trained, basis = rank * linear.out_features, 4 * rank * linear.in_features
    entries = linear.in_features * linear.out_features
    return LayerPlan(name, entries, trained, basis, 0, 4 * trained + basis + cell_bytes(entries))


def _row(name: str, entries: int, trained: int, memory: int, delta: int) -> list[str]:
    return [name, f"{entries:,}", f"{trained:,}", f"{trained / entries:.4f}", format_bytes(memory), format_bytes(delta)]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines, the first column to the left and the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join([r[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(r[1:], widths[1:], strict=True))]) for r in rows
    ]


def format_bytes(count: float) -> str:
    """Bytes as people read them."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.2f} GiB"
