"""Any value that is measured or listed, as JSON's own types.

Note: JSON has no number for infinite and undefined ones: they become null. −0.0 becomes 0.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from pairalign.core.errors import DataError


def plain(value: Any) -> Any:
    """Any metric as JSON's own types. Raises `DataError` for a type that has no such form."""
    if hasattr(value, "to_dict"):
        value = value.to_dict()
    elif hasattr(value, "tolist"):
        value = value.tolist()
    elif is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        items = [plain(v) for v in value]
        return sorted(items, key=str) if isinstance(value, (set, frozenset)) else items
    if isinstance(value, float):
        return value + 0.0 if math.isfinite(value) else None  # no −0.0
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise DataError(f"metrics: a {type(value).__name__} cannot be written as JSON: convert it to numbers or text.")
