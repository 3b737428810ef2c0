"""A configuration as JSON Schema (draft 7), made from its dataclasses: types, the rules of `bounds` and `names`,
defaults, and what the `Args:` of each say.

Note: an editor that marks a right setting as wrong is worse than one that misses a fault, so a schema takes all that
`load_config` takes; what stands between two settings, or depends on what is registered, is only checked there.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Iterator
from typing import Any

from pairalign.core.bounds import LARGEST, Within
from pairalign.core.names import FOLDER, LONGEST, PLAIN, Written
from pairalign.core.plain import plain
from pairalign.core.sources import PoolForm, SourceConfig

DRAFT = "http://json-schema.org/draft-07/schema#"
_TYPES: dict[Any, dict[str, Any]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    types.NoneType: {"type": "null"},
    Any: {},
}


def described(cls: type) -> dict[str, str]:
    """What the docstring of a dataclass, or of one that it extends, says of each field."""
    found: dict[str, str] = {}
    for one in reversed(cls.__mro__):
        found |= entries(one.__dict__.get("__doc__") or "")
    return found


def entries(docstring: str, section: str = "Args") -> dict[str, str]:
    """What a section of a docstring says of each name."""
    found = {}
    block = re.match(r"(?:    .*\n?|\n)*", inspect.cleandoc(docstring).partition(f"\n{section}:\n")[2])
    for entry in re.split(r"\n(?=    [\w*])", f"\n{block[0] if block else ''}")[1:]:
        name, _, text = entry.strip().partition(":")
        found[name.lstrip("*")] = " ".join(text.split())
    return found


def about(cls: type) -> str:
    """The same of the dataclass itself."""
    return inspect.cleandoc(cls.__doc__ or "").partition("\nArgs:\n")[0].strip()


def schema_of(cls: type, *, partial: bool = False) -> dict[str, Any]:
    """The schema of a configuration. partial: of any part of one, in which nothing has to stand."""
    made: dict[str, Any] = {}
    whole = _object(cls, made, partial)
    return {"$schema": DRAFT, "title": cls.__name__, **whole, "definitions": made}


def settings_below(cls: type, above: str = "") -> Iterator[str]:
    """`section.name` of every setting that has one name in all configurations."""
    for name, hint in typing.get_type_hints(cls).items():
        if name not in {field.name for field in dataclasses.fields(cls)}:
            continue
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            yield from settings_below(hint, f"{above}{name}.")
        else:
            yield f"{above}{name}"


def _object(cls: Any, made: dict[str, Any], partial: bool) -> dict[str, Any]:
    texts, hints = described(cls), typing.get_type_hints(cls, include_extras=True)
    needed, properties = [], {}
    for field in dataclasses.fields(cls):
        one = _of(hints[field.name], made, partial)
        one = {"allOf": [one]} if "$ref" in one else dict(one)  # draft 7 hears nothing beside a $ref
        one["description"] = texts.get(field.name, "")
        default = _default(field)
        if default is dataclasses.MISSING:
            needed.append(field.name)
        elif not dataclasses.is_dataclass(default):
            one["default"] = plain(default)
        properties[field.name] = one
    for name, now in getattr(cls, "EARLIER", {}).items():
        properties[name] = properties[now] | {"description": f"Earlier name of `{now}`.", "deprecated": True}
    found = {"type": "object", "description": about(cls), "properties": properties, "additionalProperties": False}
    if not needed or partial:
        return found
    names = {now: [name, now] for name, now in getattr(cls, "EARLIER", {}).items()}
    either = [{"oneOf": [{"required": [name]} for name in names[now]]} for now in needed if now in names]
    found["required"] = [name for name in needed if name not in names]
    return found | ({"allOf": either} if either else {})


def _default(field: dataclasses.Field[Any]) -> Any:
    factory = field.default_factory
    return field.default if factory is dataclasses.MISSING else factory()


def _of(hint: Any, made: dict[str, Any], partial: bool) -> dict[str, Any]:
    """The schema of a type; a dataclass goes into `made`, once, and is referred to."""
    args, origin = typing.get_args(hint), typing.get_origin(hint)
    if origin is typing.Annotated:
        return _ruled(args[0], args[1:], made, partial)
    if origin is typing.Literal:
        return {"enum": list(args)}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_of(one, made, partial) for one in args]}
    if origin is dict:
        names = _of(args[0], made, partial)
        return {"type": "object", "propertyNames": names, "additionalProperties": _of(args[1], made, partial)}
    if origin is tuple:
        return _array(args, made, partial)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if hint.__name__ not in made:
            made[hint.__name__] = {}  # known from here on, should it hold itself
            made[hint.__name__] = _object(hint, made, partial)
        return {"$ref": f"#/definitions/{hint.__name__}"}
    return _TYPES[hint]


def _array(args: tuple[Any, ...], made: dict[str, Any], partial: bool) -> dict[str, Any]:
    if Ellipsis in args:
        return {"type": "array", "items": _of(args[0], made, partial)}
    items = [_of(one, made, partial) for one in args]
    return {"type": "array", "items": items, "minItems": len(items), "maxItems": len(items)}


def _ruled(hint: Any, rules: tuple[Any, ...], made: dict[str, Any], partial: bool) -> dict[str, Any]:
    found = {} if any(isinstance(rule, PoolForm) for rule in rules) else _of(hint, made, partial)
    for rule in rules:
        if isinstance(rule, Within):
            found = _within(found, rule)
        elif isinstance(rule, Written):
            found = found | _written(rule)
        elif isinstance(rule, PoolForm):
            folder, source = _written(FOLDER) | {"type": "string"}, _of(SourceConfig, made, partial)
            found = {"anyOf": [folder, {"type": "array", "items": {"anyOf": [folder, source]}}]}
    return found


def _within(found: dict[str, Any], rule: Within) -> dict[str, Any]:
    """The range, on every kind of number that the type has."""
    if "anyOf" in found:
        return {"anyOf": [_within(one, rule) for one in found["anyOf"]]}
    if found.get("type") not in ("integer", "number"):
        return found
    low, high = ("exclusiveMinimum", "exclusiveMaximum") if rule.open else ("minimum", "maximum")
    bounds = {low: rule.low} if rule.low > -LARGEST else {}
    bounds |= {high: rule.high} if rule.high < LARGEST else {}
    return found | bounds | ({"type": "integer"} if rule.whole else {})


def _written(rule: Written) -> dict[str, Any]:
    """Its length and form; letters of all scripts, which an editor's `\\w` does not know."""
    if rule.form in PLAIN:
        rest = r"[^\s./]" if rule.form == "sensor" else r"[^\s./-]"
        return {"pattern": rf"^[^\s_./-]{rest}*$", "maxLength": LONGEST[rule.form]}
    one_line = r"^[^\r\n]*\S[^\r\n]*$"
    patterns = {"prompt": r"\S", "label": r"^[^\r\n/]*\S[^\r\n/]*$"}
    return {"pattern": patterns.get(rule.form, one_line), "maxLength": LONGEST[rule.form]}
