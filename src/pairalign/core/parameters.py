"""The settings of a registered function are its keyword parameters; here is which there are, and what fits one.

Dataset formats and protocols share it.

Note:
    A value is checked by the parameter's annotation, and not by the type of its default, so that a default of `None`
    says nothing; `true` is no number, a whole number is a `float` too, and a parameter without annotation takes
    anything.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import NoneType, SimpleNamespace
from typing import Any, get_type_hints

from pairalign.core.errors import PairalignError, did_you_mean
from pairalign.core.fitting import alternatives, misfits
from pairalign.core.fitting import fits as fits

Parameters = dict[str, inspect.Parameter]


def settings_of(function: Callable[..., Any], given: int) -> Parameters:
    """Parameter by name, without the first `given` ones, which are no settings; annotations as types.

    Only the annotations of settings are looked up, so that a module may import the other types for type checkers alone.
    """
    found = dict(list(inspect.signature(function).parameters.items())[given:])
    written = {name: one.annotation for name, one in found.items() if one.annotation is not one.empty}
    names = getattr(inspect.unwrap(function), "__globals__", {})
    hints = get_type_hints(SimpleNamespace(__annotations__=written), names, include_extras=True)
    return {name: one.replace(annotation=hints.get(name, one.empty)) for name, one in found.items()}


def check_values(
    known: Parameters, values: Mapping[str, Any], kind: str, owner: str, error: type[PairalignError]
) -> None:
    """Raise `error` for a value that no setting takes. kind, owner: words for it, "option", "protocol 'tvl'"."""
    for name, value in values.items():
        if name not in known:
            near = did_you_mean(name, known)
            rest = f" It has {', '.join(sorted(known))}." if near.startswith(" Did") else ""
            raise error(f"{owner} has no {kind} {name!r}.{near}{rest} Given: {name}={value!r}.")
        if (found := next(misfits(value, known[name].annotation, name), None)) is not None:
            default = known[name].default
            example = "" if default in (None, "", inspect.Parameter.empty) else f", such as {default!r}"
            raise error(f"{kind} {found[0]}={found[1]!r} of {owner}: {found[2]}{example}.")


def text_settings(known: Parameters) -> list[str]:
    """The settings that are text, and nothing else: on the command line their values are taken as they stand."""
    return [name for name, one in known.items() if set(alternatives(one.annotation)) - {NoneType} == {str}]
