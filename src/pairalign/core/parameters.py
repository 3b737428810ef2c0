"""The settings of a registered function are its keyword parameters; here is which there are, and what fits one.

Data layouts and protocols share it. Where it bites: a value is checked by the parameter's annotation, and not by the
type of its default, so that a default of `None` says nothing; `true` is no number, a whole number is a `float` too, and
a parameter without annotation takes anything.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import NoneType, SimpleNamespace, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pairalign.core.errors import PairalignError, did_you_mean

Parameters = dict[str, inspect.Parameter]
WORDS: dict[Any, str] = {
    NoneType: "null",
    bool: "true or false",
    dict: "a mapping such as {a: b}",
    float: "a number",
    int: "a whole number",
    list: "a list such as [a, b]",
    str: "text",
    tuple: "a list such as [a, b]",
}


def settings_of(function: Callable[..., Any], given: int) -> Parameters:
    """Parameter by name, without the first `given` ones, which are no settings; annotations as types.

    Only the annotations of settings are looked up, so that a module may import the other types for type checkers alone.
    """
    found = dict(list(inspect.signature(function).parameters.items())[given:])
    written = {name: one.annotation for name, one in found.items() if one.annotation is not one.empty}
    names = getattr(inspect.unwrap(function), "__globals__", {})
    hints = get_type_hints(SimpleNamespace(__annotations__=written), names)
    return {name: one.replace(annotation=hints.get(name, one.empty)) for name, one in found.items()}


def check_values(
    known: Parameters, values: Mapping[str, Any], kind: str, owner: str, error: type[PairalignError]
) -> None:
    """Raise `error` for a value that no setting takes. kind, owner: words for it, "option" and "layout 'tvl'"."""
    for name, value in values.items():
        if name not in known:
            raise error(f"{owner} has no {kind} {name!r}.{did_you_mean(name, known)}")
        if not fits(value, known[name].annotation):
            default = known[name].default
            example = "" if default in (None, "", inspect.Parameter.empty) else f", such as {default!r}"
            raise error(f"{kind} {name}={value!r} of {owner}: give {_words(known[name].annotation)}{example}.")


def text_settings(known: Parameters) -> list[str]:
    """The settings that are text, and nothing else: on the command line their values are taken as they stand."""
    return [name for name, one in known.items() if set(_alternatives(one.annotation)) - {NoneType} == {str}]


def fits(value: Any, annotation: Any) -> bool:
    """Whether a value, as YAML or JSON gives it, is of an annotated type; lists and tuples are one."""
    return any(_is(value, kind) for kind in _alternatives(annotation))


def _is(value: Any, kind: Any) -> bool:
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin in (Any, inspect.Parameter.empty):
        return True
    if origin is Literal:
        return any(value == one and type(value) is type(one) for one in inner)
    if origin in (list, tuple):
        return isinstance(value, (list, tuple)) and all(fits(one, inner[0]) for one in value if inner)
    if origin is dict:
        return isinstance(value, dict)
    if origin in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, (int, float) if origin is float else origin)


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def _words(annotation: Any) -> str:
    """What a setting takes, in words."""
    found: dict[str, None] = {}
    for kind in _alternatives(annotation):
        origin = get_origin(kind) or kind
        many = [repr(one) for one in get_args(kind)] if origin is Literal else []
        for word in many or [WORDS.get(origin, getattr(origin, "__name__", str(origin)))]:
            found[word] = None
    if WORDS[float] in found:
        found.pop(WORDS[int], None)
    return " or ".join(found)
