"""Which linear layers of a model may be adapted: those of its text decoder, unless asked otherwise.

The names follow PEFT's conventions (`target_modules`, `exclude_modules`, `layers_to_transform`).

Note:
    A list of names is looked for in the text decoder only, so that "q_proj" does not mean the vision tower's too; a
    string is a regular expression over the full names of the whole model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import nn

from pairalign.core.errors import DormantError, did_you_mean
from pairalign.dormant.quantised import form_of, is_plain
from pairalign.dormant.selection.neurons import find_neurons

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
LAYER = re.compile(r"(?:^|\.)(?:layers|layer|blocks|h)\.(\d+)\.")


def find_linears(
    model: nn.Module,
    target_modules: str | Sequence[str] | None = None,
    exclude_modules: str | Sequence[str] | None = None,
    layers_to_transform: Sequence[int] | None = None,
) -> dict[str, nn.Linear]:
    """Linear layers by full module name, in the model's order.

    target_modules: name endings; "all-linear" for every linear of the decoder's layers; "neurons" for the MLPs of the
    layers of all towers, the vision tower's too; another string is a regular expression that a full name must match;
    `None` for attention and gated MLP projections. exclude_modules: likewise.
    layers_to_transform: positions of layers, in each tower, negative ones from its end.
    Raise `DormantError` if nothing is found, and for a weight that is tied to another or quantised in an unknown form.
    """
    prefix = decoder_prefix(model)
    targets = PROJECTIONS if target_modules is None else target_modules
    linears = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    if targets == "neurons":
        inside = {weight for group in find_neurons(linears)[0].values() for weight in group}
        named = {name: module for name, module in linears.items() if name in inside and layer_of(name) is not None}
    else:
        named = {name: module for name, module in linears.items() if _matches(name, targets, prefix)}
    if exclude_modules:
        named = {name: module for name, module in named.items() if not _matches(name, exclude_modules, prefix)}
    if not named:
        ends = sorted({name.rpartition(".")[2] for name in linears})
        wanted = target_modules if isinstance(target_modules, str) else ", ".join(targets)
        raise DormantError(
            f"target_modules={wanted!r}: the model has no such linear layer."
            + did_you_mean(targets[0] if not isinstance(targets, str) else targets, ends)
        )
    named = _of_layers(named, layers_to_transform)
    _check(model, named)
    return named


def decoder_prefix(model: nn.Module) -> str:
    """Module name of the text decoder inside the model; empty if the model says of none."""
    find = getattr(model, "get_decoder", None)
    decoder = find() if callable(find) else None
    return next((name for name, module in model.named_modules() if module is decoder), "")


def layer_of(name: str) -> int | None:
    """Position of the layer that a module belongs to, `None` outside of layers."""
    found = LAYER.findall(name)
    return int(found[-1]) if found else None


def layer_name(name: str) -> str | None:
    """Name of the layer that a module belongs to, `None` outside of layers."""
    found = list(LAYER.finditer(name))
    return name[: found[-1].end() - 1] if found else None


def tower_of(name: str) -> str:
    """Name of the list of layers that a module belongs to, such as "model.visual.blocks"; empty outside of layers."""
    return (layer_name(name) or "").rpartition(".")[0]


def _matches(name: str, targets: str | Sequence[str], prefix: str) -> bool:
    inside = not prefix or name.startswith(prefix + ".")
    if targets == "all-linear":
        return inside and layer_of(name) is not None
    if isinstance(targets, str):
        return re.fullmatch(targets, name) is not None
    return inside and any(name == target or name.endswith("." + target) for target in targets)


def _of_layers(named: dict[str, nn.Linear], layers: Sequence[int] | None) -> dict[str, nn.Linear]:
    if layers is None:
        return named
    towers: dict[str, int] = {}
    for name in named:
        if (place := layer_of(name)) is not None:
            towers[tower_of(name)] = max(towers.get(tower_of(name), 0), place + 1)
    most = max(towers.values(), default=0)
    for layer in layers:
        if not -most <= layer < most:
            raise DormantError(f"layers_to_transform: {layer} is no layer of {most}.")
    wanted = {tower: {n % count for n in layers if -count <= n < count} for tower, count in towers.items()}
    return {name: module for name, module in named.items() if layer_of(name) in wanted.get(tower_of(name), ())}


def _check(model: nn.Module, named: dict[str, nn.Linear]) -> None:
    owners: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), []).append(name)
    for name, module in named.items():
        if form_of(module.weight) is None and not is_plain(module.weight):
            raise DormantError(
                f"{name} is a {type(module).__name__} whose weight is a {type(module.weight).__name__} of "
                f"{module.weight.dtype}: of quantised bases, those of torchao's weight-only int8 and of bitsandbytes' "
                "4 bits can be trained. Load the base unquantised, with load_in int8 or nf4."
            )
        tied = [other for other in owners[id(module.weight)] if other != f"{name}.weight"]
        if tied:
            raise DormantError(f"{name}.weight is tied to {tied[0]}: leave it out with exclude_modules=['{name}'].")
