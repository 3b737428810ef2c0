"""Packages that only one dataset format needs, which are extras of the project."""

from __future__ import annotations

import importlib
from typing import Any

from pairalign.core.errors import DataError


def need(package: str, extra: str, why: str) -> Any:
    """The package, or a `DataError` that says why it is needed and how to get it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise DataError(f"{why}: pip install 'pairalign[{extra}]'.") from error
