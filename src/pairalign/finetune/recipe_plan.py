"""What a recipe of stage two would train, need and save on the real model, from the model's sizes alone.

Counts are made in `plan_counts`, arithmetic and activations in `plan_flops`.

Note:
    Under "global" and "owl" budgets, and where a score marks neurons, the split over layers depends on scores, and so
    do the totals where pieces differ in size: the mean share stands there, marked "about", unless `scores` names a file
    of marks. Activations and time are estimates; the vision tower's arithmetic, its activations and the bridge are left
    out. Places of single entries below a density of 1/8 are those of evenly spread ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pairalign.core.arguments import checked
from pairalign.core.bounds import Count
from pairalign.core.errors import PairalignError
from pairalign.dormant.linears import find_linears
from pairalign.dormant.plan import LayerPlan
from pairalign.dormant.selection.relevant import BY_MARK, NeuronLayer
from pairalign.finetune.architecture import build_on_meta, floating
from pairalign.finetune.check import named_tasks
from pairalign.finetune.config import RecomposeConfig
from pairalign.finetune.fsdp import FSDP2
from pairalign.finetune.installed import check_room
from pairalign.finetune.length import told_world, with_steps
from pairalign.finetune.plan_counts import count_trained, marked_neurons
from pairalign.finetune.plan_flops import count_flops, estimate_activations, token_bytes
from pairalign.finetune.prefixes import reads_apart
from pairalign.finetune.rules import check_config, settled
from pairalign.runs.plugins import load_plugins


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
    before: int | None = None
    kept: tuple[int, int] = (0, 0)

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
        return self.base_bytes + sum(layer.memory for layer in self.layers) + self.activations + self.kept[0]

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
    load_plugins(config.plugins)
    config = settled(config)
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
    apart = reads_apart(config) and tune.strategy != FSDP2
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
        token_bytes(model, dtype) if apart else None,
        (int(tune.prefix_memory * 2**30), int(tune.prefix_disk * 2**30)) if apart else (0, 0),
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


def _is_exact(config: RecomposeConfig, neurons: tuple[NeuronLayer, ...]) -> bool:
    return bool(neurons) if config.dormant.choose in BY_MARK else config.dormant.counted not in ("global", "owl")
