"""What pydantic found wrong in a configuration, as lines that name key, value and fix; every fault, not the first.

Note:
    A key of several types ("auto" or a number) fails once for each of them; that is one fault.
"""

from __future__ import annotations

import dataclasses
import reprlib
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pairalign.core.errors import ConfigError, did_you_mean

_FIXES = {
    "dataclass_type": "write settings below it",
    "tuple_type": "write a list",
    "dict_type": "write a mapping",
    "string_type": "write text, a number in quotes",
    "too_long": "give fewer of them",
    "invalid_key": "write a key that is text",
    "int_type": "give a whole number",
    "int_parsing": "give a whole number",
    "float_type": "give a number",
    "float_parsing": "give a number",
    "bool_type": "give true or false",
    "bool_parsing": "give true or false",
}  # other kinds of problem say it well enough


_STAGES = {  # keys that only the other stage's configuration has, and its verb
    "AlignConfig": (({"base", "sensors"}, {"base", "senses"}), "two", "recompose"),
    "RecomposeConfig": (({"modalities", "edges"},), "one", "align"),
}


def check_stage(cls: type, values: Mapping[str, Any], source: Any) -> None:
    """Raise `ConfigError` for a configuration of the other stage."""
    known, stage, verb = _STAGES.get(cls.__name__, ((), "", ""))
    for keys in (keys for keys in known if keys <= values.keys()):
        what = f"config {str(source)!r}" if not isinstance(source, Mapping) else "this config"
        raise ConfigError(f"{what} is of stage {stage} ({', '.join(sorted(keys))}): `pairalign {verb}` reads it.")


def explain(cls: type, values: Mapping[str, Any], problems: Sequence[Any]) -> str:
    """One line, or a heading and a line for each key that is wrong in `values`."""
    found: dict[tuple[Any, ...], dict[str, list[str]]] = {}
    for problem in problems:
        place = _place(values, problem)
        what, fix = _fault(cls, place, problem)
        found.setdefault(place, {}).setdefault(what, []).append(fix)
    lines = []
    for place, faults in found.items():
        if any(other[: len(place)] == place and other != place for other in found):
            continue  # of the same key read as another type, whose own fault is nearer
        texts = [what + " or ".join(dict.fromkeys(fixes)) for what, fixes in faults.items()]
        line = f"config key {'.'.join(map(str, place))!r} {', and '.join(texts)}"
        lines.append(line if line[-1] in ".?" else f"{line}.")
    return lines[0] if len(lines) == 1 else "\n  ".join([f"{len(lines)} settings are wrong:", *lines])


def _place(values: Any, problem: Any) -> tuple[Any, ...]:
    """Where the problem lies. What does not stand in `values` are pydantic's names of a type's alternatives."""
    path, found = list(problem["loc"]), list[Any]()
    absent = [path.pop()] if problem["type"] == "missing" else []
    for part in path:
        known = part in values if isinstance(values, Mapping) else isinstance(values, list) and isinstance(part, int)
        if known:
            values = values[part]
            found.append(part)
    return (*found, *absent)


def _fault(cls: type, place: Sequence[Any], problem: Any) -> tuple[str, str]:
    """What is wrong, and the fix."""
    kind, cause = problem["type"], problem.get("ctx", {}).get("error")
    if kind == "unexpected_keyword_argument":
        *parents, name = place
        return "is unknown.", did_you_mean(str(name), _keys(cls, parents))
    if kind == "missing":
        return "is missing: ", "add it."
    if isinstance(cause, ConfigError):  # of several settings of one section
        return "does not fit together: ", str(cause).partition(": ")[2]
    fix = _FIXES.get(kind, str(cause or problem["msg"]).replace("Input should be", "give"))
    return f"is {reprlib.repr(problem['input'])}: ", f"{fix[:1].lower()}{fix[1:]}"


def _keys(cls: Any, parents: Sequence[Any]) -> list[str]:
    """Field names of the dataclass that the path `parents` leads to."""
    for part in parents:
        if dataclasses.is_dataclass(cls):
            cls = typing.get_type_hints(cls).get(str(part), object)
        else:
            cls = next(filter(dataclasses.is_dataclass, _alternatives(cls)), object)
    cls = next(filter(dataclasses.is_dataclass, _alternatives(cls)), object)
    return [f.name for f in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else []


def _alternatives(hint: Any) -> Iterator[Any]:
    """A type, what it is made of, and so on."""
    yield hint
    for part in typing.get_args(hint):
        yield from _alternatives(part)
