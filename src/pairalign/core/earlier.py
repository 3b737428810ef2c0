"""Functions, and fields of dataclasses, under the names that they had in earlier versions."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from operator import attrgetter
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=type)


def earlier(today: F, name: str) -> F:
    """The function as `name`, which does the same and says as a `FutureWarning` what it is called now."""

    @functools.wraps(today)
    def old(*args: Any, **kwargs: Any) -> Any:
        warnings.warn(f"{name} is called {today.__name__} now.", FutureWarning, stacklevel=2)
        return today(*args, **kwargs)

    return cast(F, old)


def earlier_fields(**today: str) -> Callable[[C], C]:
    """A dataclass whose field `today[name]` is also taken, as a keyword, and read as `name`."""

    def known(cls: C) -> C:
        made = cls.__init__  # type: ignore[misc]

        @functools.wraps(made)
        def init(self: Any, *args: Any, **kwargs: Any) -> None:
            for name in today.keys() & kwargs.keys():
                warnings.warn(f"{name} of {cls.__name__} is called {today[name]} now.", FutureWarning, stacklevel=2)
                if today[name] in kwargs:
                    raise TypeError(f"{cls.__name__}: {name} is the earlier name of {today[name]}: give one of them.")
                kwargs[today[name]] = kwargs.pop(name)
            made(self, *args, **kwargs)

        cls.__init__ = init  # type: ignore[misc]
        for name, now in today.items():
            setattr(cls, name, property(attrgetter(now)))
        return cls

    return known
