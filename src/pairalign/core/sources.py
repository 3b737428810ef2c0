"""`shards:` of an edge or a task: one folder, or a list of data sets that are drawn from together, a pool.

An entry of the list is a folder, or a mapping of `SourceConfig`.

Note:
    A weight is a share of the samples and not a factor of the folder's size, and either all sources of a pool have one
    or none has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pairalign.core.bounds import Positive, Strict
from pairalign.core.names import FOLDER, Folder, Name, Text
from pairalign.core.secrets import hide


@dataclass(frozen=True)
class SourceConfig(Strict):
    """One data set of a pool.

    Args:
        path: its shard folder.
        name: what figures call it; null for the last part of the path.
        weight: share of its samples among those drawn, relative to the other sources', above 0; null to draw by size.
        split: its own name of the split that is trained on; null for that of the run.
        val_split: likewise of the split that validates.
        sensor: the make of its sensor, for encoders that tell sensors apart: a name, or names by modality where several
            such encoders read it; null for what its samples or its index say.
    """

    path: Folder
    name: Text | None = None
    weight: Positive | None = None
    split: Text | None = None
    val_split: Text | None = None
    sensor: Text | dict[Name, Text] | None = None


class PoolForm:
    """Metadata of a field's type: text is one folder, a list holds folders and entries of `SourceConfig`."""

    final = True

    def fault(self, value: Any) -> str | None:
        """The fix where `value` is neither, else `None`."""
        entries = [value] if isinstance(value, (str, SourceConfig)) else value
        if not isinstance(entries, (list, tuple)) or not all(isinstance(one, (str, SourceConfig)) for one in entries):
            return f"give {self}"
        return next((fix for one in entries if (fix := FOLDER.fault(one)) is not None), None)

    def __str__(self) -> str:
        return "a shard folder, or a list of them"

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        def entry(value: Any) -> Any:
            return {"path": value} if isinstance(value, str) else value

        one = core_schema.no_info_before_validator_function(entry, handler.generate_schema(SourceConfig))
        folder = core_schema.no_info_after_validator_function(FOLDER.check, core_schema.str_schema())
        forms: dict[Any, Any] = {"folder": folder, "pool": core_schema.tuple_variable_schema(one)}
        return core_schema.tagged_union_schema(
            forms, lambda value: "pool" if isinstance(value, (list, tuple, dict)) else "folder"
        )


Shards = Annotated[str | tuple[SourceConfig, ...], PoolForm()]
"""A shard folder, or a pool of them."""


def sources_of(shards: str | Sequence[str | SourceConfig]) -> tuple[SourceConfig, ...]:
    """The data sets that a setting `shards` names, each with a name."""
    if isinstance(shards, str):
        return (SourceConfig(shards, shards),)
    entries = [SourceConfig(entry) if isinstance(entry, str) else entry for entry in shards]
    names = _names([entry for entry in entries if entry.name is None], {entry.name for entry in entries})
    return tuple(entry if entry.name is not None else replace(entry, name=next(names)) for entry in entries)


def _names(entries: Sequence[SourceConfig], taken: set[str | None]) -> Iterator[str]:
    """The shortest of last part, path, path and split that tells every entry from all others."""
    found: list[str] = []
    for way in (_last, lambda entry: hide(entry.path), lambda entry: f"{hide(entry.path)}:{entry.split or 'default'}"):
        found = [way(entry) for entry in entries]
        if len(set(found)) == len(found) and taken.isdisjoint(found):
            break
    return iter(found)


def _last(entry: SourceConfig) -> str:
    path = hide(entry.path).partition("?")[0]
    return path.rstrip("/").rpartition("/")[2] or path


def pool_conflicts(shards: str | Sequence[str | SourceConfig], temperature: float | None) -> Iterable[str]:
    """What is wrong between the entries of a pool, each with its fix."""
    if isinstance(shards, str):
        if temperature is not None:
            yield "temperature is of a list of shards: leave it out"
        return
    if not shards:
        yield "shards is empty: name at least one folder"
    entries = sources_of(shards)
    weighted = [entry.name for entry in entries if entry.weight is not None]
    bare = [entry.name for entry in entries if entry.weight is None]
    if weighted and bare:
        yield f"shards: {bare[0]!r} has no weight and {weighted[0]!r} has one: give every source a weight, or none"
    if weighted and temperature is not None:
        yield "temperature and weights each say how much is drawn of a source: give one of them"
    for (path, split), count in Counter((entry.path, entry.split) for entry in entries).items():
        if count > 1:
            part = "" if split is None else f", split {split!r},"
            yield f"shards: {hide(path)!r}{part} is listed {count} times: list it once, with a weight"
            return
    for name, count in Counter(entry.name for entry in entries).items():
        if count > 1:
            yield f"shards: {count} sources are called {name!r}: give each a name of its own"
