"""Which linear layers of a model may be adapted: those of its text decoder, unless asked otherwise.

The names follow PEFT's conventions (`target_modules`, `exclude_modules`, `layers_to_transform`).
Where it bites: a list of names is looked for in the text decoder only, so that "q_proj" does not mean the vision
tower's too; a string is a regular expression over the full names of the whole model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import nn

from pairalign.core.errors import DormantError, did_you_mean
from pairalign.dormant.quantised import form_of, is_plain

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
LAYER = re.compile(r"(?:^|\.)(?:layers|blocks|h)\.(\d+)\.")


def find_linears(
    model: nn.Module,
    target_modules: str | Sequence[str] | None = None,
    exclude_modules: str | Sequence[str] | None = None,
    layers_to_transform: Sequence[int] | None = None,
) -> dict[str, nn.Linear]:
    """Linear layers by full module name, in the model's order.

    target_modules: name endings; "all-linear" for every linear of the decoder's layers; another string is a regular
    expression that a full name must match; `None` for attention and gated MLP projections. exclude_modules: likewise.
    layers_to_transform: positions of decoder layers, negative ones from the end.
    Raise `DormantError` if nothing is found, and for a weight that is tied to another or quantised in an unknown form.
    """
    prefix = decoder_prefix(model)
    targets = PROJECTIONS if target_modules is None else target_modules
    linears = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
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
    places = {name: layer_of(name) for name in named}
    count = 1 + max((place for place in places.values() if place is not None), default=-1)
    for layer in layers:
        if not -count <= layer < count:
            raise DormantError(f"layers_to_transform: {layer} is no layer of {count}.")
    wanted = {layer % count for layer in layers}
    return {name: module for name, module in named.items() if places[name] in wanted}


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
