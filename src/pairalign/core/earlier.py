"""Functions, and fields of dataclasses, under the names that they had in earlier versions."""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, TypeVar, cast

from pairalign.core.errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=type)


def earlier(today: F, name: str) -> F:
    """The function as `name`, which does the same and says as a `FutureWarning` what it is called now."""

    @functools.wraps(today)
    def old(*args: Any, **kwargs: Any) -> Any:
        warnings.warn(f"{name} is called {today.__name__} now.", FutureWarning, stacklevel=2)
        return today(*args, **kwargs)

    return cast(F, old)


def earlier_keywords(**today: str) -> Callable[[F], F]:
    """A function that also takes the keyword `today[name]` as `name`, and says what it is called now."""

    def known(function: F) -> F:
        @functools.wraps(function)
        def told(*args: Any, **kwargs: Any) -> Any:
            for name in today.keys() & kwargs.keys():
                warnings.warn(f"{name}= is called {today[name]}= now.", FutureWarning, stacklevel=2)
                if today[name] in kwargs:
                    raise TypeError(f"{name}= is the earlier name of {today[name]}=: give one of them.")
                kwargs[today[name]] = kwargs.pop(name)
            return function(*args, **kwargs)

        return cast(F, told)

    return known


def earlier_fields(**today: str) -> Callable[[C], C]:
    """A dataclass whose field `today[name]` is also taken, as a keyword, and read as `name`; so is it in settings."""

    def known(cls: C) -> C:
        cls.__init__ = earlier_keywords(**today)(cls.__init__)  # type: ignore[misc]
        cls.EARLIER = today  # type: ignore[attr-defined]
        for name, now in today.items():
            setattr(cls, name, property(attrgetter(now)))
        return cls

    return known


def settings_of_today(cls: type, values: Mapping[str, Any], *, say: bool = False) -> dict[str, Any]:
    """Settings of a configuration `cls` under the names of today; raise `ConfigError` for one that has both names."""
    today = getattr(cls, "EARLIER", {})
    for name in today.keys() & values.keys():
        now = today[name]
        if now in values:
            raise ConfigError(f"config key {name!r} is the earlier name of {now!r}, and both are there: keep {now!r}.")
        if say:
            warnings.warn(f"config key {name!r} is called {now!r} now.", FutureWarning, stacklevel=3)
    return {today.get(name, name): value for name, value in values.items()}


def override_of_today(cls: type, override: str) -> str:
    """The same, `section.key=value`, under the name of today."""
    first = re.split(r"[.=]", override, maxsplit=1)[0]
    (now,) = settings_of_today(cls, {first: None}, say=True)
    return now + override[len(first) :]
