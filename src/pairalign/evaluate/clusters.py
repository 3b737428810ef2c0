"""Which samples count as one in an interval: those of one object, recording or trajectory. Every score uses this rule.

Note:
    Frames of one recording answer alike; an interval that takes them one by one is far too narrow. Samples that share
    either their group or their session are joined, and so are those that a chain of both joins. If that joins them all,
    which has no interval, the groups alone count, or else the sessions, as far as every sample has one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NAMES = ("group", "session")
Metas = Sequence[Mapping[str, Any]]


def group_of(meta: Mapping[str, Any]) -> Any:
    """The object, recording or trajectory that a sample belongs to, or `None`."""
    return next((meta[name] for name in NAMES if meta.get(name) is not None), None)


def clusters_of(metas: Metas) -> list[int] | None:
    """A number for each sample, equal for those that belong together; one that has neither stands for itself.

    `None` where nothing is gained by it: where each sample stands for itself, such as where nobody recorded any group,
    and where all belong together, whichever way.
    """
    found = _widest(metas)
    return found if 1 < len(set(found)) < len(found) else None


def one_cluster(metas: Metas) -> bool:
    """Whether all of several samples belong together, so that no interval can be had of them."""
    return len(metas) > 1 and len(set(_widest(metas))) == 1


def _widest(metas: Metas) -> list[int]:
    """The widest way of joining samples that leaves more than one cluster, or else one."""
    alone = [(name,) for name in NAMES if all(meta.get(name) is not None for meta in metas)]
    ways = [_joined(metas, names) for names in (NAMES, *alone)]
    return next((found for found in ways if len(set(found)) > 1), ways[0])


def _joined(metas: Metas, names: Sequence[str]) -> list[int]:
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
