"""Arguments of Python functions checked by the rules in their annotations, as settings of a configuration are.

    @checked(DataError)
    def inspect_pairs(folder: str, *, samples: Count = 12, seed: Whole = 0) -> Inspection: ...

Note:
    Only annotations that hold a rule are looked at (`Count`, `Whole | None`, `Text`, …), so that what a function takes
    beside them, paths or loaded runs, stays its own matter.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ParamSpec, TypeVar, get_args, get_origin

from pairalign.core.errors import ConfigError, PairalignError
from pairalign.core.fitting import misfits

P = ParamSpec("P")
T = TypeVar("T")


def checked(error: type[PairalignError] = ConfigError) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorate a function so that it raises `error` for an argument that its rule does not take, before all else."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            check_arguments(signature.bind_partial(*args, **kwargs).arguments, _rules(function), error)
            return function(*args, **kwargs)

        return call

    return decorate


def check_arguments(
    values: Mapping[str, Any], rules: Mapping[str, Any], error: type[PairalignError] = ConfigError
) -> None:
    """Raise `error` for the first value that does not fit the type of its name in `rules`."""
    for name, value in values.items():
        for path, wrong, fix in misfits(value, rules[name], name) if name in rules else ():
            raise error(f"{path}={wrong!r}: {fix}.")


@functools.cache
def _rules(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a function that hold a rule; those that cannot be looked up hold none."""
    names = vars(sys.modules[function.__module__])
    found = {}
    for name, one in inspect.signature(function).parameters.items():
        try:
            hint = eval(one.annotation, names) if isinstance(one.annotation, str) else one.annotation
        except NameError:  # imported for type checkers alone
            continue
        if _has_rule(hint):
            found[name] = hint
    return found


def _has_rule(hint: Any) -> bool:
    inner = get_args(hint)
    if get_origin(hint) is Annotated:
        return any(hasattr(rule, "fault") for rule in inner[1:])
    return any(map(_has_rule, inner))
