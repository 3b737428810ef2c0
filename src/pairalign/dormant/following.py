"""Which sensor each token of a forward pass follows: where updates act that act from their sensor on.

A causal decoder's state at a token depends on nothing behind it. Where an update acts from its sensor's first token on
and nowhere else, every prompt without that sensor, and all that stands before it in one with it, is computed with the
base's own weights, bit for bit, whatever was trained. A token follows the last sensor that began at it or before it, so
that no token is computed with a mixture of two sensors' weights, which nobody trained.
Source: our own step; activated LoRA (arXiv:2504.12397) acts behind a sequence of tokens, so as to share a cache.

Note:
    Who puts signals into a prompt says so, for the forward pass at hand in this thread or task (`follow`). Outside of
    that no token follows anything, and the base answers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from pairalign.core.errors import DormantError

CHECKPOINTED = "_gradient_checkpointing_func"
"""Where Hugging Face's modules keep the function that they recompute their layers with."""


class Tokens(NamedTuple):
    """Tokens (B, T): those from `first` on that `mask` (B, T − first, 1) marks; all of them where it is `None`."""

    first: int
    mask: Tensor | None

    def of(self, value: Tensor) -> Tensor:
        """A view of what a layer has of the tokens from `first` on: (B, T, …) → (B, T − first, …)."""
        return value[:, self.first :] if self.first else value

    def only(self, change: Tensor) -> Tensor:
        """A change (B, T − first, …) that is 0 at tokens which are not marked."""
        return change if self.mask is None else change.masked_fill(~self.mask, 0)

    def put(self, new: Tensor, output: Tensor) -> Tensor:
        """An output (B, T, …) with what is new (B, T − first, …) at the marked tokens."""
        new = new if self.mask is None else torch.where(self.mask, new, self.of(output))
        return torch.cat([output[:, : self.first], new], 1) if self.first else new


class Followed:
    """sensors: names. owner: (B, T), whose position among them each token follows, −1 for none."""

    def __init__(self, sensors: Sequence[str], owner: Tensor) -> None:
        self.sensors, self.owner = tuple(sensors), owner
        self._known: dict[tuple[frozenset[str], torch.device], Tokens | None] = {}

    @classmethod
    def at(cls, places: dict[str, Tensor]) -> Followed:
        """From the places (B, T) of each sensor's own tokens, bool."""
        owner = torch.full_like(next(iter(places.values())), -1, dtype=torch.int64)
        for n, where in enumerate(places.values()):
            owner = owner.masked_fill(where, n)
        counted = torch.arange(owner.shape[1], device=owner.device).expand_as(owner)
        last = torch.where(owner >= 0, counted, -1).cummax(1).values
        return cls([*places], torch.where(last >= 0, owner.gather(1, last.clamp(min=0)), -1))

    def onward(self, rows: int, count: int) -> Followed:
        """Of `count` tokens behind these, for `rows` rows, each of these as often in a row as beams make it."""
        last = self.owner[:, -1:].expand(-1, count)
        return Followed(self.sensors, last.repeat_interleave(rows // len(last), 0))

    def repeated(self, rows: int, length: int) -> Followed:
        """Of as many rows and at least as many tokens."""
        have = self.owner.shape[1]
        owner = self.owner.repeat_interleave(rows // len(self.owner), 0)
        return Followed(self.sensors, torch.cat([owner, owner[:, -1:].expand(-1, length - have)], 1))

    def tokens(self, sensors: frozenset[str], input: Tensor) -> Tokens | None:
        """Those of a layer's input (B, T, in) that follow one of these sensors; `None` if none does."""
        if input.shape[:-1] != self.owner.shape:
            raise DormantError(
                f"acts='sensor': a layer reads {tuple(input.shape)} where tokens are {tuple(self.owner.shape)}, so "
                "which of them are behind a sensor is not known: leave it out with exclude_modules, or set "
                "acts='always'."
            )
        key = sensors, input.device
        if key not in self._known:
            self._known[key] = self._find(sensors, input.device)
        return self._known[key]

    def _find(self, sensors: Collection[str], device: torch.device) -> Tokens | None:
        mine = torch.zeros_like(self.owner, dtype=torch.bool)
        for n, name in enumerate(self.sensors):
            if name in sensors:
                mine |= self.owner == n
        some = mine.any(0)
        if not bool(some.any()):
            return None
        first = int(some.int().argmax())
        mask = mine[:, first:]
        return Tokens(first, None if bool(mask.all()) else mask.unsqueeze(-1).to(device))


_now: ContextVar[Followed | Literal["elsewhere"] | None] = ContextVar("what tokens follow", default="elsewhere")


@contextmanager
def following(followed: Followed | None = None) -> Iterator[None]:
    """Within it, in this thread or task, tokens follow what was last said, at first this."""
    token = _now.set(followed)
    try:
        yield
    finally:
        _now.reset(token)


def follow(followed: Followed | None) -> None:
    """Say what the tokens of the forward pass at hand follow; within `following`."""
    _now.set(followed)


def followed_tokens(sensors: frozenset[str], input: Tensor) -> Tokens | None:
    """The tokens of a layer's input (B, T, in) that follow one of these sensors, `None` if none does."""
    now = _now.get()
    if isinstance(now, Followed):
        return now.tokens(sensors, input)
    if now is not None and torch._C._current_graph_task_id() != -1:
        raise DormantError(
            "a layer is computed again in a backward pass, and nobody says which tokens are behind a sensor: use the "
            "model's own gradient_checkpointing_enable(), or set acts='always'."
        )
    return None


class Carried:
    """A checkpointing function that recomputes in the context of the call, which a backward pass is not in."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def __call__(self, forward: Any, *args: Any, **options: Any) -> Any:
        context = copy_context()
        return self.function(lambda *inputs, **named: context.run(forward, *inputs, **named), *args, **options)


def carry_context(model: nn.Module) -> None:
    """See that what Hugging Face's layers recompute in a backward pass is what they computed before."""
    for module in model.modules():
        function = vars(module).get(CHECKPOINTED)
        if function is not None and not isinstance(function, Carried):
            setattr(module, CHECKPOINTED, Carried(function))
