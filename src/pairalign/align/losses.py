"""Which contrastive losses stage one has: "infonce" and "sigmoid" of the project, and what a plugin registers.

    @register_loss("triplet")
    def triplet(a, b, scale, *, ids_a, ids_b, false_negatives, chunk, gather):
        return ...                                 # one number, the mean over the pairs

Note: `gather` says that the pairs of all processes are to be compared, for which there is
`pairalign.align.distributed.gather_rows`; a loss that leaves it out compares those of each process alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from pairalign.align.contrastive import info_nce, sigmoid_loss
from pairalign.align.rows import row_contrast
from pairalign.core.author import told
from pairalign.core.errors import ConfigError, ContrastiveError, PairalignError, RegistryError, did_you_mean
from pairalign.core.plugins import source_hash
from pairalign.core.registry import PLUGIN_MODULE

NAMED = ("ids_a", "ids_b", "false_negatives", "chunk", "gather")
T = TypeVar("T", bound=Callable[..., Any])


class EdgeLoss(nn.Module):
    """A loss over all edges; what one learns on an edge is kept under the edge's name."""

    def forward(self, edge: str, a: Tensor, b: Tensor, scale: Tensor, **options: Any) -> Tensor:
        """The loss of a batch of pairs of one edge, a scalar; arguments as of `info_nce`."""
        raise NotImplementedError

    def rows(self, edge: str, a: Tensor, b: Tensor, scale: Tensor, **options: Any) -> Tensor | None:
        """The loss of each pair (B,) without a gradient, to tell the data sets of a pool apart; None if it has none."""
        return None


class _InfoNCE(EdgeLoss):
    def forward(self, edge: str, a: Tensor, b: Tensor, scale: Tensor, **options: Any) -> Tensor:
        return info_nce(a, b, scale, **options)

    def rows(self, edge: str, a: Tensor, b: Tensor, scale: Tensor, **options: Any) -> Tensor:
        return row_contrast(a, b, scale, **options)


class _Sigmoid(EdgeLoss):
    def __init__(self, edges: Sequence[str]) -> None:
        super().__init__()
        for edge in edges:
            self.register_parameter(edge, nn.Parameter(torch.tensor(-10.0)))

    def forward(self, edge: str, a: Tensor, b: Tensor, scale: Tensor, **options: Any) -> Tensor:
        return sigmoid_loss(a, b, scale, self.get_parameter(edge), **options)

    def rows(self, edge: str, a: Tensor, b: Tensor, scale: Tensor, **options: Any) -> Tensor:
        return row_contrast(a, b, scale, self.get_parameter(edge), **options)


class _Registered(EdgeLoss):
    """A plugin's: a function, or by edge a module of its own with whatever it learns."""

    def __init__(self, name: str, loss: Callable[..., Any], edges: Sequence[str]) -> None:
        super().__init__()
        self.name, self.function = name, None if inspect.isclass(loss) else loss
        for edge in edges if self.function is None else ():
            self.add_module(edge, _made(name, loss))

    def forward(self, edge: str, a: Tensor, b: Tensor, scale: Tensor, **options: Any) -> Tensor:
        loss = self.function or self.get_submodule(edge)
        found = loss(a, b, scale, **options)
        if not isinstance(found, Tensor) or found.numel() != 1:
            what = f"a tensor of shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"{found!r}"
            raise ContrastiveError(f"loss {self.name!r} gave {what}: give one number as a tensor, the mean over pairs.")
        return found.reshape(())


class _Entry(NamedTuple):
    """registered: what the decorator stood on, None of the project's own. build: the loss, of the names of edges."""

    registered: Callable[..., Any] | None
    build: Callable[[Sequence[str]], EdgeLoss]


_LOSSES = {"infonce": _Entry(None, lambda edges: _InfoNCE()), "sigmoid": _Entry(None, _Sigmoid)}


def register_loss(name: str) -> Callable[[T], T]:
    """Register a contrastive loss of stage one, for `loss.contrastive`.

    It stands on a function, or on a class of `torch.nn.Module` that is made without arguments, once for every edge, and
    trains what it owns: at ten times the networks' rate, without decay, as temperatures do. Either is called with unit
    vectors `a` and `b` (B, D), row i of one belonging to row i of the other, and the scale, a scalar; by name with
    `ids_a`, `ids_b`, `false_negatives`, `chunk` and `gather`, as `pairalign.align.contrastive.info_nce` is, and returns
    one number. Under `loss.similarity: euclidean` the vectors are no unit vectors.

    Args:
        name: what configurations call it.

    Returns:
        A decorator, which gives the function or class back.

    Raises:
        RegistryError: the name is that of another loss, or it cannot be called so.
    """

    def register(loss: T) -> T:
        known = _LOSSES.get(name)
        if known is not None and _owner(known.registered) != _owner(loss):
            owner = _owner(known.registered)
            raise RegistryError(f"loss {name!r} is registered already, by {owner}: call yours otherwise.")
        _check_signature(name, loss)
        _LOSSES[name] = _Entry(loss, partial(_Registered, name, loss))
        return loss

    return register


def check_loss(name: str) -> None:
    """Raise `ConfigError` for a loss that nobody registered."""
    if name not in _LOSSES:
        known = ", ".join(sorted(_LOSSES))
        hint = did_you_mean(name, _LOSSES)
        listed = "" if " Known: " in hint else f" Known: {known}."
        raise ConfigError(f"loss.contrastive={name!r}: no loss of this name.{hint}{listed}")


def create_loss(name: str, edges: Sequence[str]) -> EdgeLoss:
    """Build one for edges, its parameters fresh; raise `ConfigError` for a name that nobody registered."""
    check_loss(name)
    return _LOSSES[name].build(edges)


def is_own(name: str) -> bool:
    """Whether a loss is the project's."""
    return name in _LOSSES and _LOSSES[name].registered is None


def loss_hash(name: str) -> str | None:
    """SHA-256 of the source of a registered loss; None for the project's, and for one of a plugin file, which is hashed
    whole."""
    check_loss(name)
    loss = _LOSSES[name].registered
    return None if loss is None or loss.__module__.startswith(PLUGIN_MODULE) else source_hash(loss, nn.Module)


def _check_signature(name: str, loss: Callable[..., Any]) -> None:
    if isinstance(loss, nn.Module):
        raise RegistryError(f"loss {name!r} is a module that is made already: register its class, or nothing trains.")
    is_class = isinstance(loss, type)
    if isinstance(loss, type) and not issubclass(loss, nn.Module):
        raise RegistryError(f"loss {name!r} is a class that is no torch.nn.Module: derive it from that.")
    called = getattr(loss, "forward", loss) if is_class else loss
    try:
        inspect.signature(called).bind(*(None,) * (3 + is_class), **dict.fromkeys(NAMED))
    except TypeError as error:
        raise RegistryError(
            f"loss {name!r} cannot be called with a, b, scale and by name {', '.join(NAMED)} ({error}): take them all."
        ) from error


def _made(name: str, cls: Callable[..., nn.Module]) -> nn.Module:
    try:
        return cls()
    except PairalignError:
        raise
    except Exception as error:  # of its author
        raise RegistryError(f"loss {name!r} is made without arguments: {told(error)}") from error


def _owner(loss: object) -> str:
    return "pairalign" if loss is None else str(getattr(loss, "__module__", loss))
