"""Which samples count as one: those of one object, recording or trajectory. Every interval rests on this one rule.

Where it bites: frames of one recording answer alike; an interval that takes them one by one is far too narrow. Samples
that share either their group or their session are joined, and so are those that a chain of both joins. If that joins
them all, which has no interval, the groups alone count, or else the sessions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NAMES = ("group", "session")


def group_of(meta: Mapping[str, Any]) -> Any:
    """The object, recording or trajectory that a sample belongs to, or `None`."""
    return next((meta[name] for name in NAMES if meta.get(name) is not None), None)


def clusters_of(metas: Sequence[Mapping[str, Any]]) -> list[int] | None:
    """A number for each sample, equal for those that belong together; a sample that has neither stands for itself.

    `None` where no two samples belong together, and where all do, whichever way.
    """
    for names in (NAMES, *((name,) for name in NAMES)):
        found = _joined(metas, names)
        if len(set(found)) > 1:
            return found if len(set(found)) < len(found) else None
    return None


def _joined(metas: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[int]:
    """The first sample that each is joined to by any of the fields `names`."""
    parent = list(range(len(metas)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[tuple[str, str], int] = {}
    for i, meta in enumerate(metas):
        for name in names:
            if meta.get(name) is not None:
                j = first.setdefault((name, str(meta[name])), i)
                parent[root(i)] = root(j)
    return [root(i) for i in range(len(metas))]
