"""What a recipe of stage two would train, need and save on the real model, from the model's sizes alone.

Counts are those of `select_dormant`, which chooses exactly k pieces whatever the scores: they need no weights. FLOPs of
a linear are 2 a weight and token, forward; again for the gradient of its input; and for the gradient of the trained
values 2 a trained weight for whole rows and columns, 2 a weight of the matrix for single entries, whose gradient is
formed in dense blocks (`Replacement.gradient`).
Where it bites: under "global" and "owl" budgets, and where a score marks neurons, the split over layers depends on
scores, and so do the totals where pieces differ in size: the mean share stands there, marked "about", unless `scores`
names a file of marks. Activations and time are estimates; the vision tower's arithmetic, its activations and the bridge
are left out. Places of single entries below a density of 1/8 are those of evenly spread ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pairalign.core.arguments import checked
from pairalign.core.bounds import Count
from pairalign.core.errors import ConfigError, PairalignError
from pairalign.dormant.config import DormantConfig
from pairalign.dormant.linears import decoder_prefix, find_linears
from pairalign.dormant.plan import LayerPlan, cell_bytes, piece_bytes, plan_directions, rounded_bytes
from pairalign.dormant.selection.encoding import SKIP
from pairalign.dormant.selection.relevant import BY_MARK, NeuronLayer, neuron_layers
from pairalign.dormant.selection.select import check_settings, count_out, parse_n_of_m
from pairalign.dormant.selection.units import pieces_of
from pairalign.dormant.significance import load_scores
from pairalign.dormant.significance.mnaft import AGNOSTIC_SHARE, LAYER_SHARE
from pairalign.finetune.architecture import build_on_meta, floating
from pairalign.finetune.check import named_tasks
from pairalign.finetune.config import RecomposeConfig
from pairalign.finetune.installed import check_room
from pairalign.finetune.length import told_world, with_steps
from pairalign.finetune.methods import create_method
from pairalign.finetune.methods.full import Full
from pairalign.finetune.methods.lora import LoRA
from pairalign.finetune.methods.method import decoder_parameters
from pairalign.finetune.rules import check_config
from pairalign.masters import entry_bytes

COPIES = {"lwf": 1, "spider": 1, "ewc": 2}  # of the decoder, beside the base
SUMS = {"spider": 4}  # bytes an entry of what is added up in float32


@dataclass(frozen=True)
class MetaPlan:
    """A recipe on a model of known size. Memory in bytes; FLOPs a token; `exact` says whether counts are.
    neurons: of MLPs whose neurons a score file marks. epochs: of
    shards that are not here, so that nothing says how many steps they are, and `steps` is 1."""

    model: str
    dtype: torch.dtype
    parameters: int
    base_bytes: int
    layers: tuple[LayerPlan, ...]
    exact: bool
    activations: int
    forward: int
    backward: int
    tokens: int
    step_tokens: int
    steps: int
    load_in: str | None = None
    neurons: tuple[NeuronLayer, ...] = ()
    epochs: float | None = None

    @property
    def trained(self) -> int:
        """Parameters that train, the bridge's aside."""
        return sum(layer.trained for layer in self.layers)

    @property
    def delta(self) -> int:
        """Bytes of the delta file, its header aside."""
        return sum(layer.delta for layer in self.layers)

    @property
    def memory(self) -> int:
        """Bytes of training, activations included."""
        return self.base_bytes + sum(layer.memory for layer in self.layers) + self.activations

    @property
    def flops(self) -> int:
        """Arithmetic of the whole run."""
        return (self.forward + self.backward) * self.step_tokens * self.steps


@checked()
def plan_recipe(config: RecomposeConfig, architecture: str, tokens: Count = 512) -> MetaPlan:
    """The plan of `config` on the model described in `architecture`, for samples of `tokens` tokens.

    Nothing that the configuration names on disk has to exist. Raise `ConfigError` for a method whose sizes the model's
    do not say, `DormantError` where choosing would refuse.
    """
    check_config(config)
    config = _with_steps(config)
    model = build_on_meta(architecture)
    stored = next(model.parameters()).dtype
    dtype, dormant, tune = floating(config.dtype, stored), config.dormant, config.train
    linears = find_linears(model, dormant.target_modules, dormant.exclude_modules, dormant.layers_to_transform)
    if config.installed:
        check_room(config, linears)
    neurons = marked_neurons(config)
    layers = count_trained(model, config, linears, dtype, neurons)
    structure = dormant.structure if config.method == "dormant" else "matrices"
    forward, backward = count_flops(model, linears, layers, structure, tokens)
    if config.method == "lwf" or tune.distil.weight:  # the base answers, too
        forward += forward
    if tune.gradient_checkpointing:
        backward += forward
    return MetaPlan(
        type(model).__name__,
        dtype,
        sum(p.numel() for p in model.parameters()),
        base_bytes(model, dtype, config.load_in),
        layers,
        structure in ("matrices", "directions") or _is_exact(config, neurons),
        estimate_activations(model, tune.batch_size * tokens, dtype, tune.gradient_checkpointing),
        forward,
        backward,
        tokens,
        tune.batch_size * tune.accumulate * tokens,
        tune.steps if tune.epochs is None else 1,
        config.load_in,
        neurons,
        tune.epochs,
    )


def _with_steps(config: RecomposeConfig) -> RecomposeConfig:
    """With steps in the place of epochs, where the shards are here to be counted."""
    if config.train.epochs is None:
        return config
    try:
        return with_steps(config, named_tasks(config, "tasks"), told_world(config))
    except PairalignError:
        return config


def base_bytes(model: nn.Module, dtype: torch.dtype, load_in: str | None) -> int:
    """Bytes of the base's weights: of linear layers in `load_in` numbers and scales, the output head's aside."""
    head: Any = getattr(model, "get_output_embeddings", lambda: None)()
    small = [m for m in model.modules() if load_in and isinstance(m, nn.Linear) and m is not head]
    packed = {"int8": _int8_bytes, "nf4": _nf4_bytes}
    quantised = sum(packed[str(load_in)](m) for m in small)
    plain = sum(p.numel() for p in model.parameters()) - sum(m.weight.numel() for m in small)
    return plain * dtype.itemsize + quantised


def _int8_bytes(linear: nn.Linear) -> int:
    """A byte an entry, a float32 scale and an int8 zero for each row."""
    return linear.weight.numel() + 5 * linear.out_features


def _nf4_bytes(linear: nn.Linear) -> int:
    """Half a byte an entry, a float32 scale for each 64, and each layer's table of 16 codes."""
    return -(-linear.weight.numel() // 2) + 4 * -(-linear.weight.numel() // 64) + 4 * 16


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


def _is_exact(config: RecomposeConfig, neurons: tuple[NeuronLayer, ...]) -> bool:
    return bool(neurons) if config.dormant.choose in BY_MARK else config.dormant.counted not in ("global", "owl")


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


def count_flops(
    model: nn.Module, linears: dict[str, nn.Linear], layers: tuple[LayerPlan, ...], structure: str, tokens: int
) -> tuple[int, int]:
    """FLOPs a token of the text decoder, forward and backward, in samples of `tokens` tokens.

    The gradient reaches the embeddings, because the bridge trains.
    """
    text = model.config.get_text_config()  # type: ignore[operator, union-attr]
    inner = decoder_prefix(model)
    weights = sum(
        module.weight.numel()
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and (name.startswith(inner + ".") or name.endswith("lm_head"))
    )
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    attention = (
        2 * text.num_hidden_layers * text.num_attention_heads * head * tokens
    )  # q·k and p·v, half of them causal
    forward = backward = 2 * weights
    layers = tuple(layer for layer in layers if not inner or layer.name.startswith(f"{inner}."))
    trained = sum(layer.trained for layer in layers)
    if structure == "directions":
        ranks = ((layer.trained // linears[layer.name].out_features, linears[layer.name]) for layer in layers)
        beside = sum(2 * rank * (m.in_features + m.out_features) for rank, m in ranks)
        forward, backward = forward + beside, backward + beside + 2 * trained
    elif structure == "weights" or ":" in structure:
        backward += 2 * sum(layer.entries for layer in layers)
    elif structure == "matrices":
        backward += 2 * trained
    else:
        forward, backward = forward + 2 * trained, backward + 4 * trained
    return forward + attention, backward + 2 * attention


def estimate_activations(model: nn.Module, tokens: int, dtype: torch.dtype, checkpointing: bool) -> int:
    """Bytes kept for the backward pass over `tokens` tokens: an estimate from the sizes of a decoder layer.

    A layer keeps both norms' inputs (fp32 and own dtype), the inputs of its linears, queries, keys, values, and the
    gated product's three factors. Under checkpointing a layer keeps its input, and one layer is whole. The logits and
    their gradient are fp32.
    """
    text = model.config.get_text_config()  # type: ignore[operator, union-attr]
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    heads = (2 * text.num_attention_heads + 2 * text.num_key_value_heads) * head  # q, k, v and what o_proj reads
    one = 2 * 4 * text.hidden_size + dtype.itemsize * (4 * text.hidden_size + heads + 4 * text.intermediate_size)
    layers = text.num_hidden_layers
    kept = one + layers * dtype.itemsize * text.hidden_size if checkpointing else layers * one
    return tokens * (kept + 2 * 4 * text.vocab_size)
