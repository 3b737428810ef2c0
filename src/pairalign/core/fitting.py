"""Whether a value is of an annotated type, and in words what would be: settings in Python are checked as YAML is.

Note:
    `true` is no number, a whole number is a `float` too, lists and tuples are one, and text is no number; metadata of a
    type that has a `fault`, such as `Within`, is asked first, and alone where it is `final`.

    pydantic reads YAML, and is no judge of what Python gives: even strict it takes `True` for `Literal[1]`, refuses a
    tuple for a list and a list for a tuple, and of a type with alternatives it says each one's fault and not the fix.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from inspect import Parameter
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

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

Misfit = tuple[str, Any, str]


def misfits(value: Any, hint: Any, path: str = "") -> Iterator[Misfit]:
    """(path, value, fix) of every part of a value that its annotation does not take."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        rules = [rule for rule in inner[1:] if hasattr(rule, "fault")]
        fixes = [fix for rule in rules if (fix := rule.fault(value)) is not None]
        if fixes:
            yield path, value, fixes[0]
        elif not any(getattr(rule, "final", False) for rule in rules):
            for place, wrong, fix in misfits(value, inner[0], path):
                yield place, wrong, f"give {words(hint)}" if place == path else fix
    elif origin in (Union, UnionType):
        yield from _nearest(value, inner, hint, path)
    elif not _is(value, hint):
        yield path, value, f"give {words(hint)}"
    elif origin is dict or (origin is not None and isinstance(value, Mapping)):
        for name, one in value.items():
            yield from misfits(name, inner[0], f"{path}.{name}")
            yield from misfits(one, inner[1], f"{path}.{name}")
    elif isinstance(value, (list, tuple)) and inner:
        parts = inner if origin is tuple and Ellipsis not in inner else (inner[0],) * len(value)
        if len(parts) != len(value):
            yield path, value, f"give {len(parts)} of them"
        for n, (one, kind) in enumerate(zip(value, parts, strict=False)):
            yield from misfits(one, kind, f"{path}.{n}")


def fits(value: Any, hint: Any) -> bool:
    """Whether a value, as YAML or JSON gives it, is of an annotated type."""
    return next(misfits(value, hint), None) is None


def words(hint: Any) -> str:
    """What an annotation takes, in words."""
    found = dict.fromkeys(word for kind in alternatives(hint) for word in _words(kind))
    if WORDS[float] in found:
        found.pop(WORDS[int], None)
    return " or ".join(found)


def alternatives(hint: Any) -> tuple[Any, ...]:
    """The types that a value may be of."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _words(kind: Any) -> list[str]:
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin is Literal:
        return [repr(one) for one in inner]
    if origin is Annotated:
        told = [str(rule) for rule in inner[1:] if hasattr(rule, "fault")]
        return told or [words(inner[0])]
    if isinstance(origin, type) and issubclass(origin, (Sequence, Mapping)) and origin not in WORDS:
        origin = dict if issubclass(origin, Mapping) else list
    return [WORDS.get(origin, getattr(origin, "__name__", str(origin)))]


def _nearest(value: Any, kinds: Sequence[Any], hint: Any, path: str) -> Iterator[Misfit]:
    """Nothing where one of several types takes the value; else what is wrong inside the one that it is nearly of."""
    tried = [list(misfits(value, kind, path)) for kind in kinds]
    if all(tried):
        inside = [found for found in tried if found[0][0] != path]
        ruled = [
            found
            for kind, found in zip(kinds, tried, strict=True)
            if get_origin(kind) is Annotated and _is(value, get_args(kind)[0])
        ]
        yield from (inside or ruled or [[(path, value, f"give {words(hint)}")]])[0]


def _is(value: Any, kind: Any) -> bool:
    """Whether a value is of a type, its parts aside."""
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin is Annotated:
        return _is(value, inner[0])
    if origin in (Any, Parameter.empty):
        return True
    if origin is Literal:
        return any(value == one and type(value) is type(one) for one in inner)
    if origin in (int, float) and isinstance(value, bool):
        return False
    if origin is float:
        return isinstance(value, (int, float))
    if issubclass(origin, (list, tuple)) or (issubclass(origin, Sequence) and origin is not str):
        return isinstance(value, (list, tuple))
    return isinstance(value, origin)
