"""Bytes that a kept value takes in memory: its numbers or letters, and the objects around them.

Note:
    Of a tiny sample the objects are nearly all, some twenty times its numbers; a tensor that shows part of a larger one
    keeps all of that. About right for CPython on 64 bits; never less than the numbers.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

OBJECT = 300  # a container with its place in another one
TENSOR = 600  # a tensor and its storage, without its numbers, as the allocator rounds them


def held(value: Any) -> int:
    """Bytes of a value and of all that it holds, about."""
    if isinstance(value, Tensor):
        return TENSOR + value.untyped_storage().nbytes()
    if isinstance(value, Mapping):
        return OBJECT + sum(held(part) for part in value.values())  # its keys are names that others share
    if isinstance(value, (list, tuple)):
        return OBJECT + sum(map(held, value))
    if isinstance(value, np.ndarray):
        return OBJECT + value.nbytes
    if hasattr(value, "getbands"):  # a picture of PIL
        return OBJECT + len(value.getbands()) * value.width * value.height
    return sys.getsizeof(value)
