"""Functions under the names that they had in earlier versions."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])


def earlier(today: F, name: str) -> F:
    """The function as `name`, which does the same and says as a `FutureWarning` what it is called now."""

    @functools.wraps(today)
    def old(*args: Any, **kwargs: Any) -> Any:
        warnings.warn(f"{name} is called {today.__name__} now.", FutureWarning, stacklevel=2)
        return today(*args, **kwargs)

    return cast(F, old)
