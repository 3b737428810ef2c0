"""How settings are written down: YAML, and `section.key=value` to override one.

YAML 1.1 as PyYAML reads it, with three exceptions that cost people whole runs: `1e-3` is a number (there it is text),
`1:4` is text (there it is the number 64, counted in sixties), and a key that stands twice in one mapping is refused
(there the last one wins).

Note:
    What is written must be read back alike, so text that looks like a number is written in quotes by the same rules.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pairalign.core.errors import ConfigError, DataError
from pairalign.core.limits import check, limit, read_words, variable

_INT = r"[-+]?0b[0-1_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+"
_FLOAT = (
    r"[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)


def parse_yaml(text: str) -> Any:
    """The value of a YAML text; raise `ValueError` with the reason, in one line, for a text that is none."""
    import yaml

    try:
        check("settings", len(text), "the YAML")
        return _loaded(text)
    except DataError as error:
        raise ValueError(str(error)) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ValueError(f"{where}{error.problem or error.context}") from error
    except (
        Exception
    ) as error:  # what makes dates, numbers and bytes of words raises a dozen kinds: `!!int ""`, `!!bool x`
        reason = str(error).splitlines() or [type(error).__name__]
        raise ValueError(reason[0]) from error


def _loaded(text: str) -> Any:
    """The value of one document, once it is known how large its aliases make it."""
    loader = _classes()[0](text)  # a SafeLoader
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _spelled_out(node, {}, 0)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _spelled_out(node: Any, known: dict[int, int], depth: int) -> int:
    """How many values a node stands for; raise `ValueError` beyond the bound, where a few aliases of aliases can mean
    more than any memory holds."""
    if id(node) in known:
        return known[id(node)]
    if depth > limit("nesting"):
        raise ValueError(f"it is nested deeper than {limit('nesting')} levels ({variable('nesting')})")
    known[id(node)] = 1  # of an alias for what it stands in, which is refused later, by who reads it
    inner = [] if isinstance(node.value, str) else node.value
    parts = [part for one in inner for part in (one if isinstance(one, tuple) else (one,))]
    count = known[id(node)] = 1 + sum(_spelled_out(part, known, depth + 1) for part in parts)
    if count > limit("entries"):
        raise ValueError(f"it stands for more than {limit('entries'):,} values ({variable('entries')})")
    return count


def write_yaml(value: Any) -> str:
    """Plain values as YAML text that `parse_yaml` reads back to equal ones."""
    import yaml

    return str(yaml.dump(value, Dumper=_classes()[1], sort_keys=False))


def read_mapping(source: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    """The settings in a YAML file, or a copy of those in a mapping; raise `ConfigError` where there are none."""
    if isinstance(source, Mapping):
        return {name: _unshared(value) for name, value in source.items()}
    path = Path(source)
    if not path.is_file():
        raise ConfigError(f"config {str(path)!r} is no file: give the path of a YAML file.")
    try:
        values = _unshared(parse_yaml(read_words(path, "settings")))
    except OSError as error:
        raise ConfigError(f"config {str(path)!r} cannot be read ({error.strerror}): give a file of yours.") from error
    except (ValueError, RecursionError, DataError) as error:
        raise ConfigError(f"config {str(path)!r} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"config {str(path)!r} holds {type(values).__name__}, not a mapping of settings.")
    return values


def apply_override(values: dict[str, Any], override: str) -> None:
    """Set one value in place, as `train.lr=1e-3` or `edges.0.weight=2` says; raise `ConfigError` for another form."""
    path, sign, text = override.partition("=")
    *parents, last = path.split(".")
    if not sign or not last or not all(parents):
        raise ConfigError(f"override {override!r}: write it as section.key=value, for example train.lr=1e-3.")
    node: Any = values
    for name in parents:
        node = _section(node, name, path)
    place = _index(node, last, path) if isinstance(node, list) else last
    try:
        node[place] = _unshared(parse_yaml(text))
    except (ValueError, RecursionError) as error:
        reason = "it holds itself" if isinstance(error, RecursionError) else error
        raise ConfigError(
            f"override {override!r} holds no YAML value ({reason}): close its brackets or quote it."
        ) from error


def check_overrides(overrides: Sequence[str]) -> None:
    """Raise `ConfigError` where one override takes back what an earlier one has set."""
    paths = [override.partition("=")[0] for override in overrides]
    for n, path in enumerate(paths):
        for earlier in paths[:n]:
            if f"{earlier}.".startswith(f"{path}."):
                what = "stands twice" if earlier == path else f"takes back {earlier!r}, which stands before it"
                raise ConfigError(f"override {path!r} {what}: give it once, the wider one first.")


def _unshared(value: Any) -> Any:
    """A copy in which nothing stands for two keys, as a YAML alias does: an override is of one of them."""
    if isinstance(value, Mapping):
        return {name: _unshared(inner) for name, inner in value.items()}
    return [_unshared(inner) for inner in value] if isinstance(value, (list, tuple)) else copy.deepcopy(value)


def _section(node: Any, name: str, path: str) -> Any:
    """The section `name` of a section; an absent or empty one is made."""
    if isinstance(node, list):
        found = node[_index(node, name, path)]
    elif node.get(name) is None:
        found = node[name] = {}
    else:
        found = node[name]
    if not isinstance(found, (dict, list)):
        raise ConfigError(f"override {path!r}: {name!r} is a value, not a section.")
    return found


def _index(node: list[Any], name: str, path: str) -> int:
    if not name.isdecimal() or int(name) >= len(node):
        raise ConfigError(f"override {path!r}: {name!r} is no position in a list of {len(node)}.")
    return int(name)


@cache
def _classes() -> tuple[Any, Any]:
    """The loader and the dumper; made when first used, since importing yaml costs time."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Refuses a key that stands twice."""

        def compose_mapping_node(self, anchor: Any) -> Any:
            node = super().compose_mapping_node(anchor)
            seen: set[str] = set()
            for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"):
                if key.value in seen:
                    raise yaml.MarkedYAMLError(problem=f"key {key.value!r} stands twice", problem_mark=key.start_mark)
                seen.add(key.value)
            return node

    class Dumper(yaml.SafeDumper):
        """Written so that `Loader` reads it back alike."""

    numbers = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
    rules = Loader.yaml_implicit_resolvers
    Loader.yaml_implicit_resolvers = {first: [p for p in rules[first] if p[0] not in numbers] for first in rules}
    for cls in (Loader, Dumper):  # the dumper keeps the old rules too: what either takes for a number gets quotes
        cls.add_implicit_resolver(numbers[1], re.compile(f"^(?:{_FLOAT})$"), list("-+0123456789."))
        cls.add_implicit_resolver(numbers[0], re.compile(f"^(?:{_INT})$"), list("-+0123456789"))
    return Loader, Dumper
