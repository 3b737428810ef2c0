"""Pages of settings, made at build time from the dataclasses themselves: type, default, range and what a setting means.

A field is described in the `Args:` of the dataclass that has it. What a field may be is its type with its rules, as
`pairalign.core.bounds` and `pairalign.core.names` write them, so that page and check cannot differ.
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Iterator
from typing import Any

from pairalign.core.bounds import LARGEST, Within
from pairalign.core.config import AlignConfig
from pairalign.core.rule import Rule
from pairalign.core.schema import about as about
from pairalign.core.schema import described as described
from pairalign.finetune.config import RecomposeConfig
from pairalign.finetune.sequence.config import SequenceConfig

PAGES = {
    "settings/align.md": ("Stage one", "pairalign align", AlignConfig),
    "settings/recompose.md": ("Stage two", "pairalign recompose", RecomposeConfig),
    "settings/sequence.md": ("Skills in sequence", "pairalign sequence", SequenceConfig),
}
_FORMS = {"text": "text", "prompt": "text", "label": "a name", "name": "a plain name", "sensor": "a plain name"}
_PLAIN = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Any: "anything"}


def said(hint: Any) -> str:
    """A type with its rules, in words."""
    if isinstance(hint, str):
        return hint
    args, origin = typing.get_args(hint), typing.get_origin(hint)
    if origin is typing.Annotated:
        return _ruled(args[0], args[1:])
    if origin is typing.Literal:
        return ", ".join(f"`{one}`" for one in args)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(said(one) for one in args))
    if origin is dict:
        value = "" if args[1] is Any else f" of {said(args[1])}"
        return f"a mapping{value}"
    if origin is tuple:
        kinds = dict.fromkeys(said(one) for one in args if one is not Ellipsis)
        return f"{'a list' if Ellipsis in args else f'a list of {len(args)}'}: {', '.join(kinds)}"
    if dataclasses.is_dataclass(hint):
        return f"[{hint.__name__}](#{hint.__name__.lower()})"
    return "null" if hint is types.NoneType else _PLAIN.get(hint, getattr(hint, "__name__", str(hint)))


def _ruled(hint: Any, rules: tuple[Any, ...]) -> str:
    for rule in rules:
        if isinstance(rule, Within):
            other = [said(one) for one in typing.get_args(hint) if one not in (int, float)]
            return " or ".join([*other, _span(rule)])
        form = getattr(rule, "form", None)
        if form in _FORMS:
            return _FORMS[form]
        if isinstance(rule, Rule) and hint is Any:
            return "values"
    shown = ", ".join(map(said, _classes(hint)))
    return f"{rules[0]} ({shown})" if shown else str(rules[0])


def _span(rule: Within) -> str:
    """A range in signs: ≥ 0, 0 < x < 1."""
    kind = "whole, " if rule.whole else ""
    if rule.low <= -LARGEST:
        return "a whole number"
    if rule.high >= LARGEST:
        return f"{kind}{'>' if rule.open else '≥'} {rule.low:g}"
    return f"{kind}{rule.low:g} to {rule.high:g}{', both excluded' if rule.open else ''}"


def _classes(hint: Any) -> Iterator[type]:
    """The dataclasses that a type is made of."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        yield hint
    for part in typing.get_args(hint):
        yield from _classes(part)


def sections(cls: type) -> list[type]:
    """A configuration and every dataclass below it, each once."""
    found = [cls]
    for one in found:
        for hint in typing.get_type_hints(one, include_extras=True).values():
            found += [part for part in dict.fromkeys(_classes(hint)) if part not in found]
    return found


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
        return "**needed**"
    value = field.default if field.default is not dataclasses.MISSING else field.default_factory()  # type: ignore[misc]
    if dataclasses.is_dataclass(value):
        return "its defaults"
    words = {None: "null", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return f"`{words[value]}`"
    return f"`{value}`" if isinstance(value, str | int | float) else "none" if not value else f"`{list(value)}`"


def table(cls: type) -> str:
    """One dataclass as Markdown: what it is, and a row for each field."""
    texts, hints = described(cls), typing.get_type_hints(cls, include_extras=True)
    rows = ["| setting | value | default | what it means |", "|---|---|---|---|"]
    for field in dataclasses.fields(cls):
        cells = (f"`{field.name}`", said(hints[field.name]), _default(field), texts.get(field.name, ""))
        rows.append("| " + " | ".join(map(_cell, cells)) + " |")
    return f"## {cls.__name__}\n\n{about(cls)}\n\n" + "\n".join(rows)


def _cell(text: str) -> str:
    """Text as a cell of a table: no bar ends it, and `<image>` is no element."""
    return re.sub(r"(`[^`]*`)|<", lambda match: match[1] or "&lt;", text.replace("|", "\\|"))


def page(title: str, verb: str, cls: type) -> str:
    """The page of one configuration."""
    head = (
        f"# Settings: {title}\n\nWhat `{verb} CONFIG.yaml` reads. Each may be given behind it on the command line, as "
        "`section.name=value` with a value as YAML writes it; in Python, `pairalign.load_config` reads the same. "
        f"An unknown key or a value out of range is refused before anything starts. The whole is `{cls.__name__}`; "
        "a linked name is a section of settings, written below its key."
    )
    return "\n\n".join([head, *map(table, sections(cls))]) + "\n"
