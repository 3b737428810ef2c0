"""The dormant engine: linear layers whose base weight nobody writes, beside packed values that anybody may train.

`DormantLinear` is an `nn.Linear` with updates by sensor name. What an update changes is computed beside the base's own
output: for rows, columns and directions the difference is added, which is nothing before training; single entries act
through a temporary weight, and values of all rows are a weight of their own. An update acts at every token, or from its
sensor's first one on (`following`). The base weight never requires a gradient, never meets an optimizer, and is never
written, so that no critical entry can move, and a look at the base costs what the base costs.

Note:
    Whether updates act belongs to the call (`without_updates`), in this thread or task alone, so that others may ask at
    the same time; a thread that is started within it does not inherit it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import MethodType
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pairalign.core.errors import DormantError
from pairalign.dormant.directions import Direction
from pairalign.dormant.following import Tokens, followed_tokens
from pairalign.dormant.quantised import FrozenLinear, dense, dtype_of, form_of, settle
from pairalign.dormant.updates import Entries, Replacement, Rows, replaced_linear
from pairalign.sharding import whole

DISPATCHED = "_old_forward"
"""Where accelerate keeps the forward of a layer that `device_map` puts somewhere."""

_silent: ContextVar[frozenset[int]] = ContextVar("layers whose updates do not act", default=frozenset())


@contextmanager
def without_updates(layers: Iterable[nn.Module]) -> Iterator[None]:
    """Within it these layers are the base's, for the calls of this thread or task; blocks may nest."""
    token = _silent.set(_silent.get() | {id(layer) for layer in layers})
    try:
        yield
    finally:
        _silent.reset(token)


class DormantLinear(nn.Linear):
    """A linear layer with updates by name; make one with `adapt`, and undo it with `release`."""

    updates: nn.ModuleDict
    enabled: bool
    plain: ClassVar[type[nn.Linear]] = nn.Linear
    """What it was, and is again when it is released."""

    def forward(self, input: Tensor) -> Tensor:
        """As `nn.Linear`."""
        if self.weight.requires_grad and torch.is_grad_enabled():
            raise DormantError("a base weight beside dormant values is never trained: set its requires_grad to False.")
        acting = self.acting()
        always = [update for update in acting if update.sensors is None]
        behind = [(update, tokens) for update in acting if (tokens := _tokens(update, input)) is not None]
        output = self._replaced(input, always)
        for update, tokens in behind:
            if update.replaces:
                output = tokens.put(self._replaced(tokens.of(input), [*always, update]), output)
        for update in always:
            if not update.replaces:
                update.add_(output, update.difference(input, self.weight))
        for update, tokens in behind:
            if not update.replaces:
                update.add_(tokens.of(output), tokens.only(update.difference(tokens.of(input), self.weight)))
        return output

    def _replaced(self, input: Tensor, updates: list[Replacement | Direction]) -> Tensor:
        """The output with those of these updates that a weight is made of."""
        whole = [update.values for update in updates if isinstance(update, Rows) and update.replaces]
        if whole:
            return F.linear(input, whole[0].to(dtype_of(self.weight)), self.bias)
        entries = [update for update in updates if isinstance(update, Entries)]
        if entries:
            return replaced_linear(input, self.weight, self.bias, entries)
        return super().forward(input)

    def acting(self) -> list[Replacement | Direction]:
        """The updates that act in a call made here and now."""
        if not self.enabled or id(self) in _silent.get():
            return []
        return [update for _, update in sorted(self.updates.items())]  # type: ignore[misc]  # whoever came first

    def replacements(self) -> list[Replacement]:
        """The updates that take the place of entries of the weight."""
        return [update for update in self.updates.values() if isinstance(update, Replacement)]

    def effective_weight(self) -> Tensor:
        """A copy of the weight as it acts behind every sensor that is there: replaced, directions added."""
        weight, acting = self.base_weight().clone(), self.acting()
        for update in acting:
            if isinstance(update, Replacement):
                update.put_(weight, whole(update.values.detach()))
        for update in acting:
            if isinstance(update, Direction):
                weight += update.delta().to(weight.dtype)
        return weight

    def base_weight(self) -> Tensor:
        """The weight itself, whole, which no update changes; of a quantised one a dequantised copy."""
        return dense(self.weight)


def adapt(linear: nn.Linear) -> DormantLinear:
    """Make a linear layer of a model dormant, in place: the same object, with room for updates. Its base is frozen."""
    if isinstance(linear, DormantLinear):
        return linear
    _check_plain(linear)
    settle(linear)
    linear.requires_grad_(False)
    linear.__class__ = dormant_class(DormantLinear, type(linear))
    _rebind(linear)
    assert isinstance(linear, DormantLinear)
    linear.updates = nn.ModuleDict()
    linear.enabled = True
    return linear


_classes: dict[tuple[type, type], Any] = {}


def dormant_class(dormant: type[DormantLinear], plain: type[nn.Linear]) -> Any:
    """A dormant class whose base computes as `plain` does."""
    if plain is nn.Linear:
        return dormant
    kind = dormant, plain
    if kind not in _classes:
        _classes[kind] = type(f"{dormant.__name__}{plain.__name__}", (dormant, plain), {"plain": plain})
    return _classes[kind]


def _check_plain(layer: nn.Module) -> None:
    four_bits = type(layer).__name__ == "Linear4bit" and form_of(layer.weight) is not None  # type: ignore[arg-type]
    if type(layer) not in (nn.Linear, FrozenLinear) and not four_bits:
        raise DormantError(f"a {type(layer).__name__} is no plain nn.Linear: leave it out with exclude_modules.")
    if "forward" in vars(layer) and DISPATCHED not in vars(layer):
        raise DormantError("a linear layer's forward was replaced, and updates would not act: put nn.Linear's back.")


def _rebind(layer: nn.Linear) -> None:
    """Let a layer that accelerate moves between devices call its class's forward, of which it keeps the one before."""
    if DISPATCHED in vars(layer):
        setattr(layer, DISPATCHED, MethodType(type(layer).forward, layer))


def check_free(layer: nn.Module, name: str, update: Replacement | Direction) -> None:
    """Raise `DormantError` if a layer cannot take an update: it is no plain one, the name is taken, entries overlap."""
    if not isinstance(layer, DormantLinear):
        _check_plain(layer)
    if update.replaces and (form := form_of(layer.weight)) is not None:  # type: ignore[arg-type]
        raise DormantError(
            f"sensor {name!r}: its values stand in a dense weight of their own, which a base in {form} has not: train "
            "rows, columns, neurons or directions."
        )
    if not isinstance(layer, DormantLinear):
        return
    if name in layer.updates:
        raise DormantError(f"sensor {name!r} is installed already: uninstall it first.")
    for owner, other in layer.updates.items():
        if may_meet(update, other) and (shared := shared_weights(update, other)):
            raise DormantError(
                f"sensor {name!r} and {owner!r} share {shared} weights, and both act at the same tokens: each needs "
                "its own, or acts='sensor'."
            )


def shared_weights(one: nn.Module, other: nn.Module) -> int:
    """How many entries of a weight two updates both have values for."""
    if not isinstance(one, Replacement) or not isinstance(other, Replacement):
        return 0
    return int((one.bitmap() & other.bitmap()).sum())


def may_meet(update: nn.Module, other: nn.Module) -> bool:
    """Whether two updates act at one token: unless each acts from sensors of its own on."""
    ours, theirs = getattr(update, "sensors", None), getattr(other, "sensors", None)
    return ours is None or theirs is None or not ours.isdisjoint(theirs)


def _tokens(update: Replacement | Direction, input: Tensor) -> Tokens | None:
    """Where an update acts that does not act everywhere."""
    return None if update.sensors is None else followed_tokens(update.sensors, input)


def attach(layer: DormantLinear, name: str, update: Replacement | Direction) -> None:
    """Add an update under a sensor's name; raise `DormantError` as `check_free` does."""
    check_free(layer, name, update)
    layer.updates[name] = update


def detach(layer: DormantLinear, name: str) -> None:
    """Remove an update."""
    del layer.updates[name]


def release(layer: DormantLinear, merge: bool) -> nn.Linear:
    """The plain linear layer again, the same object: with every update merged into the weight, or with none."""
    if merge:
        with torch.no_grad():
            layer.weight.copy_(layer.effective_weight())
    del layer.updates, layer.enabled
    layer.__class__ = layer.plain  # type: ignore[assignment]
    _rebind(layer)
    return layer


def dormant_linears(model: nn.Module) -> Iterator[tuple[str, DormantLinear]]:
    """Name and layer of every dormant linear layer."""
    return ((name, module) for name, module in model.named_modules() if isinstance(module, DormantLinear))
