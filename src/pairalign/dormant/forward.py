"""How a `DormantModel` hands a call on to its base, with the base's own signature.

Note:
    Gradient checkpointing recomputes in another thread, which is why a call that trains is followed by its context.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from pairalign.dormant.following import carry_context

if TYPE_CHECKING:
    from pairalign.dormant.model import DormantModel


def _call_base(model: DormantModel, *args: Any, **kwargs: Any) -> Any:
    if model.training and torch.is_grad_enabled():
        carry_context(model.base_model)
    return model.base_model(*args, **kwargs)


class BaseForward:
    """`forward` that calls the base and has its signature, which Hugging Face's Trainer reads to choose columns."""

    def __get__(self, model: DormantModel | None, owner: type | None = None) -> Callable[..., Any]:
        if model is None:
            return _call_base
        return functools.wraps(model.base_model.forward)(functools.partial(_call_base, model))
