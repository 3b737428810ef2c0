"""How much of each layer a recipe trains, from the sizes of its layers alone, and what is held and saved for it.

Counts are those of `select_dormant`, which chooses exactly k pieces whatever the scores: they need no weights.

Note:
    Places of single entries below a density of 1/8 are those of evenly spread ones, and where a score marks neurons
    each MLP stands at the mean share, unless a file of marks says more.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from pairalign.core.errors import ConfigError
from pairalign.dormant.config import DormantConfig
from pairalign.dormant.plan import LayerPlan, cell_bytes, piece_bytes, plan_directions, rounded_bytes
from pairalign.dormant.selection.encoding import SKIP
from pairalign.dormant.selection.relevant import BY_MARK, NeuronLayer, neuron_layers
from pairalign.dormant.selection.select import check_settings, count_out, parse_n_of_m
from pairalign.dormant.selection.units import pieces_of
from pairalign.dormant.significance import load_scores
from pairalign.dormant.significance.mnaft import AGNOSTIC_SHARE, LAYER_SHARE
from pairalign.finetune.config import RecomposeConfig
from pairalign.finetune.methods import create_method
from pairalign.finetune.methods.full import Full
from pairalign.finetune.methods.lora import LoRA
from pairalign.finetune.methods.method import decoder_parameters
from pairalign.masters import entry_bytes

COPIES = {"lwf": 1, "spider": 1, "ewc": 2}  # of the decoder, beside the base
SUMS = {"spider": 4}  # bytes an entry of what is added up in float32


def count_trained(
    model: nn.Module,
    config: RecomposeConfig,
    linears: dict[str, nn.Linear],
    dtype: torch.dtype,
    neurons: tuple[NeuronLayer, ...] = (),
) -> tuple[LayerPlan, ...]:
    """What trains of each module under the configuration's method; see `COPIES` for what it holds beside."""
    method = create_method(config.method, config.options)
    if config.method == "dormant":
        return count_layers(linears, config.dormant, dtype, neurons)
    if config.method == "bridge":
        return ()
    size = dtype.itemsize
    if isinstance(method, LoRA):
        rank, shapes = method.options["r"], {name: (m.out_features, m.in_features) for name, m in linears.items()}
        return tuple(LayerPlan(n, o * i, rank * (o + i), 0, 0, size * o * i) for n, (o, i) in shapes.items())
    if not isinstance(method, Full):
        raise ConfigError(f"method={config.method!r}: the model's sizes do not say its own: use recompose --dry-run.")
    counts: dict[str, int] = {}
    for name, parameter in decoder_parameters(model).items():
        module = name.rpartition(".")[0]
        counts[module] = counts.get(module, 0) + parameter.numel()
    kept = COPIES.get(config.method, 0) * size + SUMS.get(config.method, 0)
    return tuple(LayerPlan(name, n, n, 0, kept * n, size * n, entry_bytes(dtype)) for name, n in counts.items())


def marked_neurons(config: RecomposeConfig) -> tuple[NeuronLayer, ...]:
    """What the score file says of each MLP, where neurons are chosen by marks; nothing where there is none yet."""
    by_mark = config.method == "dormant" and config.dormant.choose in BY_MARK
    if not by_mark or config.scores is None or not Path(config.scores).exists():
        return ()
    return neuron_layers(load_scores(config.scores))


def count_layers(
    linears: dict[str, nn.Linear], config: DormantConfig, dtype: torch.dtype, neurons: tuple[NeuronLayer, ...] = ()
) -> tuple[LayerPlan, ...]:
    """What `plan_dormant` would say of each layer, without a score. neurons: what a score that marks them says; without
    it each MLP stands at the mean share that the score's agnostic and layers ask for."""
    check_settings(config.structure, config.counted, config.density)
    if config.structure == "directions":
        return tuple(plan_directions(name, linear, config.density) for name, linear in linears.items())
    if config.structure == "neurons":
        groups = pieces_of("neurons", list(linears)).groups
        downs = {group[-1] for group in groups.values()}
        if config.choose in BY_MARK:
            counts = {one.name: one.trained for one in neurons} or _mean_counts(linears, groups, config)
            of = {weight: counts.get(name, 0) for name, group in groups.items() for weight in group}
            return tuple(_layer(n, linears[n], config, dtype, n in downs, of[n]) for n in linears if of[n])
    else:
        downs = set(linears) if config.structure == "columns" else set()
    return tuple(_layer(name, linear, config, dtype, name in downs) for name, linear in linears.items())


def _mean_counts(
    linears: dict[str, nn.Linear], groups: Mapping[str, tuple[str, ...]], config: DormantConfig
) -> dict[str, int]:
    share = config.options.get("agnostic", AGNOSTIC_SHARE) * config.options.get("layers", LAYER_SHARE)
    return {name: round(share * linears[group[-1]].in_features) for name, group in groups.items()}


def _layer(
    name: str, linear: nn.Linear, config: DormantConfig, dtype: torch.dtype, columns: bool, count: int = 0
) -> LayerPlan:
    rows, inputs = linear.out_features, linear.in_features
    entries = rows * inputs
    pieces = config.structure in ("rows", "columns", "neurons", "matrices")
    if pieces:
        size, across = (inputs, rows) if columns else (rows, inputs)
        k = size if config.structure == "matrices" else count or count_out(name, config.density, size, "pieces")
        trained, (held, stored) = k * across, piece_bytes(k)
    else:
        trained = _entries(name, rows, inputs, config)
        held = stored = _place_bytes(entries, trained)
    kept = rounded_bytes(trained, dtype, not pieces)
    return LayerPlan(name, entries, trained, held, kept, dtype.itemsize * trained + stored + cell_bytes(entries))


def _entries(name: str, rows: int, inputs: int, config: DormantConfig) -> int:
    n_of_m = parse_n_of_m(config.structure)
    if n_of_m is not None:
        return rows * inputs * n_of_m[0] // n_of_m[1]
    if config.counted == "per_row":
        return rows * count_out(name, config.density, inputs, "inputs of a row")
    return count_out(name, config.density, rows * inputs, "pieces")


def _place_bytes(entries: int, trained: int) -> int:
    """Of a bitmap, or of gaps where they are shorter: a byte a chosen entry, and one for every 255 passed in a row."""
    far = (1 - trained / entries) ** SKIP
    return min(-(-entries // 8), round(trained * (1 + far / (1 - far))))
